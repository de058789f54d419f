// Asks all of these ports at once for a page by HTTP/2, and prints what came of each, as JSON.
const http2 = require("http2");
const done = {};

function ask(port, next) {
  let status, bytes = 0, over = false;
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const end = (text) => {
    if (over) return;
    over = true;
    clearTimeout(timer);
    done[port] = text;
    session.destroy();
    next();
  };
  const timer = setTimeout(() => end(`silence ${status || ""} ${bytes}`.trim()), 2000);
  session.on("error", (error) => setImmediate(end, `session ${error.code || error.message}`));
  session.on("close", () => setImmediate(end, `closed ${bytes}`));
  const stream = session.request({ ":path": "/" });
  stream.on("response", (fields) => { status = fields[":status"]; });
  stream.on("data", (data) => { bytes += data.length; });
  stream.on("error", (error) => setImmediate(end, `stream ${error.code || error.message} ${bytes}`));
  stream.on("aborted", () => setImmediate(end, `aborted ${bytes}`));
  stream.on("end", () => setImmediate(() => setImmediate(end, `${status} ${bytes}`)));
  stream.end();
}

const ports = process.argv.slice(2);
let left = ports.length;
for (const port of ports) {
  ask(port, () => {
    left -= 1;
    if (!left) { console.log(JSON.stringify(done)); process.exit(0); }
  });
}
