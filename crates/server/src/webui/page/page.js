// Asks every second, draws what it is told, and says when that is old.

import { ago } from "./format.js";
import { say } from "./elements.js";
import { draw } from "./sections.js";

const PAUSE = 1000;
/** How long an answer may take. */
const PATIENCE = 5000;
/** Older than this is old, in milliseconds. */
const OLD = 4000;

/** The last answer, and when it came by this machine's clock. */
let last = null;
let problem = null;

/** The teller's clock. */
function now() {
  return last.data.now + (performance.now() - last.at);
}

async function ask() {
  const answer = await fetch("webui/data", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.problem);
  last = { data, at: performance.now() };
}

/** What is wrong, and since when things are as shown; by the teller's clock, if it has told anything. */
function trouble() {
  if (problem) return [problem, last && now() - last.data.now];
  for (const [whom, { at, problem }] of [
    ["The query coordinator", last.data.coordinator],
    ["The metastore", last.data.metastore],
  ]) {
    if (problem && (at === null || now() - at > OLD)) {
      return [`${whom} does not answer: ${problem}. What it should tell is old or missing.`, at && now() - at];
    }
  }
  return null;
}

function tell() {
  const found = last || problem ? trouble() : null;
  const state = document.getElementById("state");
  const live = last && !found;
  state.dataset.state = live ? "live" : found ? "old" : "";
  say("state", live ? "Live" : found ? "Old" : "Loading");
  document.getElementById("trouble").hidden = !found;
  document.querySelector("main").toggleAttribute("data-old", Boolean(found));
  say("problem", found ? found[0] : "");
  say("age", !found ? "" : found[1] === null ? "Nothing has been told yet." : `Last answer ${ago(found[1])}.`);
}

async function round() {
  try {
    await ask();
    problem = null;
  } catch (error) {
    const silent = error instanceof TypeError || error.name === "TimeoutError";
    problem = silent ? "This process does not answer." : `This process is not ready: ${error.message}`;
  }
  if (last && !problem) draw(last.data, now());
  tell();
}

async function watch() {
  for (;;) {
    if (!document.hidden) await round();
    await new Promise((wake) => setTimeout(wake, PAUSE));
  }
}

setInterval(() => (last || problem) && tell(), PAUSE);
watch();
