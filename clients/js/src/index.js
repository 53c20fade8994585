export { Actor, Rejoin } from "./actor.js";
export { Client } from "./client.js";
export { play } from "./play.js";
export { ServerError } from "./protocol.js";
