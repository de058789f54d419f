// The order of what the search finds: pages for users of a test before pages for contributors and long tables.
// A word in a text counts 5, in a title 15.
const MORE = {
  "connection-errors": 4, errors: 3, "first-test": 1, retries: 2, timeouts: 2, pools: 2, tls: 2, databases: 2,
  relays: 1, "own-protocol": 2, "around-the-connection": 2, async: 2, leaks: 2, streaming: 2, uploads: 2,
  websocket: 2, http2: 2, ci: 1, glossary: 1,
  reference: -1, clients: -1, systems: -2, atlas: -2, "how-it-works": -2, benchmarks: -2, security: -3, walk: -3,
  architecture: -4, contributing: -4, releasing: -4, changelog: -4,
};

var Scorer = {
  score: ([page, , , , score]) => score + (MORE[page] || 0),
  objNameMatch: 11, objPartialMatch: 6, objPrio: { 0: 15, 1: 5, 2: -5 }, objPrioDefault: 0,
  title: 15, partialTitle: 7, term: 5, partialTerm: 2,
};
