// Makes and breaks proxies by toxiproxy-node-client, and prints what came of it as JSON; test_clients.py runs it.
"use strict";
const net = require("node:net");
const { Toxiproxy } = require("toxiproxy-node-client");

const given = JSON.parse(process.argv[2]);

// The body of a page, or the code of the error.
function fetched(listen) {
  const [host, port] = listen.split(":");
  return new Promise((resolve) => {
    let text = "";
    const socket = net.connect(Number(port), host, () => socket.write("GET / HTTP/1.0\r\n\r\n"));
    socket.on("data", (data) => { text += data; });
    socket.on("error", (error) => resolve(error.code));
    socket.on("end", () => resolve(text.split("\r\n\r\n")[1]));
  });
}

// The status of the error that a call ends with.
async function refused(call) {
  try {
    await call();
  } catch (error) {
    return Number(error.message.match(/status code (\d+)/)[1]);
  }
  return null;
}

async function main() {
  const told = {};
  const api = new Toxiproxy(given.url);
  told.version = await api.getVersion();
  let proxy = await api.createProxy({ name: "web", listen: "127.0.0.1:0", upstream: given.web });
  told.hello = await fetched(proxy.listen);
  proxy = await proxy.update({ ...proxy.toJson(), enabled: false });
  told.off = await fetched(proxy.listen);
  proxy = await proxy.update({ ...proxy.toJson(), enabled: true });
  for (const [type, attributes] of given.toxics) {
    await proxy.addToxic({ type, attributes, name: type, stream: "downstream", toxicity: 1 });
  }
  told.toxics = {};
  for (const [type] of given.toxics) {
    told.toxics[type] = (await proxy.getToxic(type)).attributes;
  }
  const latency = await proxy.getToxic("latency");
  told.updated = (await latency.update({ ...latency.toJson(), attributes: { latency: 7 } })).attributes;
  for (const [type] of given.toxics.slice(0, -1)) {
    await (await proxy.getToxic(type)).remove();
  }
  told.reset = await fetched(proxy.listen);
  told.errors = [
    await refused(() => api.get("none")),
    await refused(() => api.createProxy({ name: "web", listen: "", upstream: given.web })),
    await refused(() => api.createProxy({ name: "", listen: "", upstream: given.web })),
    await refused(() => proxy.addToxic({ type: "nonsense" })),
    await refused(() => proxy.getToxic("none")),
  ];
  await api.reset();
  const populated = await api.populate([
    { name: "b", listen: "127.0.0.1:0", upstream: given.other },
    { name: "c", listen: "127.0.0.1:0", upstream: given.other },
  ]);
  told.populated = Object.keys(populated);
  told.all = Object.keys(await api.getAll());
  await (await api.get("web")).remove();
  told.left = Object.keys(await api.getAll());
  console.log(JSON.stringify(told));
}

main();
