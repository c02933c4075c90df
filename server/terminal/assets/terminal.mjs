// The web terminal's page. What a message on the wire is: server/api/pty.go.
import { Terminal } from "./xterm.mjs";
import { FitAddon } from "./addon-fit.mjs";

// xterm.js makes style elements as it goes. The policy of the page takes only
// those that carry the nonce of this answer.
const nonce = document.querySelector("script[nonce]").nonce;
const create = Document.prototype.createElement;
document.createElement = function (name, options) {
  const element = create.call(this, name, options);
  if (String(name).toLowerCase() === "style") element.nonce = nonce;
  return element;
};

const page = document.body.dataset;
const panel = document.getElementById("message");
const words = document.getElementById("words");
const link = document.getElementById("remedy");
const leave = document.getElementById("back");
const name = document.title;

const colours = {
  dark: { background: "#12171d", foreground: "#e8edf3", cursor: "#7ab8f5", selectionBackground: "#3b5b7d" },
  light: {
    background: "#ffffff", foreground: "#16202c", cursor: "#0b5cad", selectionBackground: "#b5d3f2",
    black: "#16202c", red: "#a3141c", green: "#1a6b2f", yellow: "#7a5600", blue: "#0b5cad", magenta: "#86278c", cyan: "#0a6570", white: "#5b6875",
    brightBlack: "#4d5a68", brightRed: "#b91c25", brightGreen: "#217a38", brightYellow: "#8a6200", brightBlue: "#1469c2",
    brightMagenta: "#9a34a0", brightCyan: "#0e7480", brightWhite: "#16202c",
  },
};
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => (dark.matches ? colours.dark : colours.light);

const terminal = new Terminal({
  fontFamily: "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace", fontSize: 15, cursorBlink: !matchMedia("(prefers-reduced-motion: reduce)").matches,
  scrollback: 10000, theme: theme(), minimumContrastRatio: 4.5, allowProposedApi: false,
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(document.getElementById("terminal"));
fit.fit();
dark.addEventListener("change", () => { terminal.options.theme = theme(); });
terminal.onTitleChange((title) => { document.title = title ? `${title} – ${name}` : name; });

// The state of the page: one socket at a time, and a timer while there is none.
let socket = null;
let timer = 0;
let tries = 0;
let over = false; // the program has ended
let shown = 0; // bytes that the server has not been told of

const encoder = new TextEncoder();
const chunk = 4096; // characters of one message: a paste is many
const acknowledge = 32 << 10; // bytes shown before the server is told

function send(value) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(encoder.encode(JSON.stringify(value)));
}

function type(data) {
  if (over) {
    if (data === "\r") location.assign(page.again);
    return;
  }
  for (let at = 0; at < data.length;) {
    let end = Math.min(at + chunk, data.length);
    // A character of two halves stays whole.
    if (end < data.length && (data.charCodeAt(end - 1) & 0xfc00) === 0xd800) end++;
    send({ data: data.slice(at, end) });
    at = end;
  }
}
terminal.onData(type);
terminal.onResize(({ cols, rows }) => send({ width: cols, height: rows }));
new ResizeObserver(() => fit.fit()).observe(document.getElementById("terminal"));

// Keys that belong to the page. All others are the terminal's, Tab too, so there
// must be one that leads out.
terminal.attachCustomKeyEventHandler((event) => {
  if (event.type !== "keydown" || !event.ctrlKey || !event.shiftKey || event.altKey) return true;
  switch (event.code) {
    case "KeyE":
      event.preventDefault();
      leave.focus();
      return false;
    case "KeyC":
      if (!terminal.hasSelection()) return true;
      event.preventDefault();
      document.execCommand("copy");
      return false;
    case "KeyV":
      return false; // the browser pastes
  }
  return true;
});

function say(text, remedy, target) {
  panel.hidden = text === "";
  words.textContent = text;
  link.hidden = !remedy;
  link.textContent = remedy ?? "";
  if (target) link.href = target;
  document.body.dataset.state = text === "" ? "open" : over ? "over" : "closed";
}

function address() {
  const target = new URL(page.socket, location.href);
  target.protocol = target.protocol.replace("http", "ws");
  for (const [key, value] of Object.entries({ width: terminal.cols, height: terminal.rows, flow: 1 })) target.searchParams.set(key, value);
  return target;
}

function connect() {
  clearTimeout(timer);
  if (socket || over) return;
  const next = new WebSocket(address());
  next.binaryType = "arraybuffer";
  socket = next;
  let opened = false;
  next.onopen = () => {
    opened = true;
    tries = 0;
    shown = 0;
    // What the agent sends first is everything that is to be seen.
    terminal.reset();
    send({ width: terminal.cols, height: terminal.rows });
    say("");
  };
  next.onmessage = ({ data }) => {
    terminal.write(new Uint8Array(data), () => {
      shown += data.byteLength;
      if (shown >= acknowledge && next.readyState === WebSocket.OPEN) {
        next.send(String(shown));
        shown = 0;
      }
    });
  };
  next.onclose = ({ code }) => {
    socket = null;
    if (opened && code === 1000) {
      over = true;
      say("The session has ended. Press Enter for a new one, or close the page.", "New session", page.again);
      return;
    }
    retry();
  };
}

const longest = 10_000;

// retry finds out what is wrong, which a browser does not tell of a websocket,
// says so and tries again.
async function retry() {
  const wait = Math.min(250 * 2 ** tries++, longest);
  timer = setTimeout(connect, wait * (0.75 + Math.random() / 2));
  const soon = "It is tried again by itself.";
  let answer;
  try {
    const limit = new AbortController();
    setTimeout(() => limit.abort(), 5000);
    const response = await fetch(page.stateAddress, { signal: limit.signal, headers: { Accept: "application/json" } });
    answer = response.status === 200 ? (await response.json()).status : response.status;
  } catch {
    answer = "unreachable";
  }
  if (socket?.readyState === WebSocket.OPEN) return;
  switch (answer) {
    case 401:
      clearTimeout(timer);
      say("You are signed out, or your session has expired. Your programs go on running.", "Sign in and come back", page.login);
      return;
    case 404:
      clearTimeout(timer);
      say("This agent does not exist any more. Look whether the workspace was deleted or has another agent.", "Workspace", leave.href);
      return;
    case "connected":
      say(`The connection was lost. ${soon}`);
      return;
    case "connecting":
    case "disconnected":
    case "unknown":
      say(`The agent is not connected. Start the workspace, or see on its machine whether causeway-agent runs and reaches this server. ${soon}`, "Workspace", leave.href);
      return;
    default:
      say(`The server cannot be reached. Check your network. ${soon}`);
  }
}

addEventListener("online", connect);
document.addEventListener("visibilitychange", () => { if (!document.hidden && !panel.hidden && !over) connect(); });
addEventListener("pageshow", () => terminal.focus());
terminal.focus();
connect();
