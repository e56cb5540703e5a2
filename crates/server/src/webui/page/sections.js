// What is drawn of each part of the cluster?

import { ago, bytes, count, percent, span, words } from "./format.js";
import { element, fill, say, small, table } from "./elements.js";

/** Draws everything; `now` is the teller's clock. */
export function draw(data, now) {
  const { node, version } = data.process;
  say("teller", `Told by node ${node}, version ${version}`);
  balance(data);
  nodes(data);
  shards(data.shards);
  coordinators(data.coordinators, now);
  moves(data.moves, data.balance, now);
  history(data.history, now);
}

function place(one) {
  return [`Node ${one.node}`, small(one.address)];
}

function badge(kind, text) {
  return element("span", { class: kind }, text);
}

function more(total, shown) {
  return total > shown ? `and ${total - shown} more` : undefined;
}

function balance({ balance, history }) {
  const term = (name, value, remark) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, element("strong", {}, value), small(remark)));
  if (!balance) {
    fill("balance", [term("Automatic balancing", "Not known", "the query coordinator has not told yet")]);
    return fill("unplaced", []);
  }
  const apart = (spread) => `${percent(spread.lowest)} to ${percent(spread.highest)}, mean ${percent(spread.mean)}`;
  const [automatic, remark] = balance.automatic
    ? ["On", balance.evening ? "nodes are being evened out" : "nodes are even enough"]
    : balance.suspended
      ? ["Suspended", "nodes that leave are still emptied"]
      : ["Off", "by the settings"];
  const results = ["done", "refused", "dropped"].map((result) => `${history[result]} ${result}`).join(", ");
  fill("balance", [
    term("Automatic balancing", automatic, remark),
    term("Memory imbalance", percent(balance.memory.difference), apart(balance.memory)),
    term("CPU imbalance", percent(balance.cpu.difference), apart(balance.cpu)),
    term("Moves", `${balance.moving} under way`, `${balance.waiting} waiting, ${bytes(balance.waiting_bytes)}`),
    term("Last hour", `${bytes(history.bytes)} moved`, results),
  ]);
  const homeless = balance.unplaced.map((one) =>
    element("li", {}, `Segment ${one.segment} (${bytes(one.bytes)}) has no place: ${one.obstacle}`));
  const rest = more(balance.unplaced_total, balance.unplaced.length);
  fill("unplaced", rest ? [...homeless, element("li", {}, rest)] : homeless);
}

function nodes({ nodes, collections }) {
  const colours = new Map(collections.map(({ id }, place) => [id, `c${place}`]));
  const names = new Map(collections.map(({ id, name }) => [id, name]));
  const sum = (node) => node.held.reduce((total, held) => total + held.bytes, node.other ?? 0);
  const largest = Math.max(1, ...nodes.map(sum));
  const colour = (held) => colours.get(held.collection) ?? "rest";
  const name = (held) => names.get(held.collection) ?? "other collections";
  const key = (kind, text) => element("li", {}, element("i", { class: kind }), text);
  const legend = collections.map((one) => key(colours.get(one.id), `${one.name} ${bytes(one.bytes)}`));
  if (nodes.some((node) => node.held.some((held) => held.collection === null))) legend.push(key("rest", "other collections"));
  fill("legend", [...legend, key("other", "other memory"), key("free", "free")]);

  const bar = (node) => {
    const used = sum(node);
    const whole = Math.max(node.limit ?? largest, used, 1);
    const parts = node.held.filter((held) => held.bytes > 0).map((held) => [colour(held), name(held), held.bytes]);
    if (node.other) parts.push(["other", "other memory", node.other]);
    const drawn = parts.map(([kind, , size]) => {
      const part = element("span", { class: kind });
      part.style.width = `${((size / whole) * 100).toFixed(2)}%`;
      return part;
    });
    const text = node.limit
      ? `${bytes(used)} of ${bytes(node.limit)}, ${percent((used / node.limit) * 100)}`
      : `${bytes(used)}, limit not known`;
    const spoken = [text, ...parts.map(([, of, size]) => `${of} ${bytes(size)}`)].join("; ");
    return [element("div", { class: "bar", role: "img", "aria-label": spoken }, ...drawn), small(text)];
  };
  const state = (node) => {
    const kind = { serving: "good", unknown: "bad" }[node.state] ?? "warn";
    const drain = node.drain;
    const progress = drain && small(`${bytes(drain.left)} of ${bytes(drain.bytes)} left`);
    return [badge(kind, node.state), progress];
  };
  const held = (node) => node.held.reduce((total, of) => total + of.segments, 0);
  table("nodes", nodes.map((node) => [
    place(node),
    state(node),
    bar(node),
    [`${held(node)} held`, small(node.serves === undefined ? "" : `answers for ${node.serves}`)],
    node.cpu === undefined ? "" : [`${node.cpu.toFixed(2)}`, small(`of ${count(node.cores, "core")}`)],
    node.coming === undefined ? "" : `${node.coming} in, ${node.going} out`,
  ]), "No query node is there.");
}

function shards({ leaders, leaderless }) {
  const chip = (shard) => shard.serving
    ? element("li", {}, `${shard.collection}/${shard.ordinal}`)
    : element("li", { class: "warn" }, `${shard.collection}/${shard.ordinal} not serving`);
  const led = ({ total, shards }) => {
    const rest = more(total, shards.length);
    const chips = element("ul", { class: "chips" }, ...shards.map(chip), rest && element("li", {}, rest));
    return [small(count(total, "shard")), chips];
  };
  const state = (leader) => {
    if (!leader.alive) return badge("bad", "gone");
    if (leader.stopping) return badge("warn", "stopping");
    return leader.starting ? badge("warn", `${leader.starting} starting`) : badge("good", "serving");
  };
  const rows = leaders.map((leader) => [place(leader), state(leader), led(leader.led)]);
  if (leaderless.total) rows.push(["Nobody", badge("bad", "no leader"), led(leaderless)]);
  table("shards", rows, "No streaming node is there.");
}

function coordinators(all, now) {
  const others = (standby) => standby.map((one) =>
    element("div", {}, `Node ${one.node}${one.stopping ? ", stopping" : ""}`, small(one.address)));
  table("coordinators", all.map((one) => [
    one.role,
    one.active ? place(one.active) : badge("bad", "nobody"),
    one.epoch === null ? "" : String(one.epoch),
    one.since === null ? "" : [ago(now - one.since), small(words(one.elections[0].reason))],
    one.standby.length ? others(one.standby) : "nobody",
  ]), "");
  const elections = all.flatMap(({ role, elections }) => elections.map((election) => [
    role,
    String(election.epoch),
    election.node,
    ago(now - election.at),
    [words(election.reason), small(election.by)],
    span(election.waited),
  ]));
  table("elections", elections, "None is remembered.");
}

function ways(one) {
  return `${one.from} \u2192 ${one.to}`;
}

function moves({ total, bytes: size, moves }, balance, now) {
  const waiting = balance?.waiting ? `; ${balance.waiting} waiting` : "";
  const rest = more(total, moves.length);
  say("moves-note", `${count(total, "move")}, ${bytes(size)}${waiting}${rest ? `; ${rest} than shown` : ""}`);
  const time = (one) => {
    const elapsed = Math.max(0, now - one.begun);
    if (one.expected === null) return small(`${span(elapsed)} so far`);
    const late = elapsed > one.expected ? ", longer than others took" : "";
    const text = `${span(elapsed)} of about ${span(one.expected)}${late}`;
    const part = Math.min(1, elapsed / Math.max(1, one.expected)).toFixed(3);
    return [element("progress", { max: 1, value: part, "aria-label": `Segment ${one.segment}: ${text}` }), small(text)];
  };
  table("moves", moves.map((one) =>
    [one.segment, one.collection, ways(one), bytes(one.bytes), words(one.reason), time(one)]), "Nothing is moving.");
}

function history({ total, done, refused, dropped, bytes: size, moves }, now) {
  const rest = total > moves.length ? `; the latest ${moves.length} are shown` : "";
  say("history-note", `${done} done, ${bytes(size)}; ${refused} refused, ${dropped} dropped${rest}`);
  const result = (one) => {
    const kind = { done: "good", refused: "warn" }[one.result] ?? "warn";
    return [badge(kind, one.result), small(one.why ?? "")];
  };
  table("history", moves.map((one) => [
    ago(now - one.ended), one.segment, one.collection, ways(one), bytes(one.bytes), span(one.ended - one.begun),
    words(one.reason), result(one),
  ]), "Nothing has moved.");
}
