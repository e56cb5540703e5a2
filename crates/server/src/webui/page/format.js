// How are quantities and times written?

const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB"];

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  let value = count / 1024;
  let unit = 0;
  while (value >= 1024 && unit + 1 < UNITS.length) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(1)} ${UNITS[unit]}`;
}

export function percent(value) {
  return `${value.toFixed(1)} %`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export function span(millis) {
  if (millis < 1000) return `${Math.max(0, Math.round(millis))} ms`;
  if (millis < 10_000) return `${(millis / 1000).toFixed(1)} s`;
  if (millis < 120_000) return `${Math.round(millis / 1000)} s`;
  if (millis < 7_200_000) return `${Math.round(millis / 60_000)} min`;
  return `${Math.round(millis / 3_600_000)} h`;
}

export function ago(millis) {
  if (millis < 1000) return "just now";
  return millis < 120_000 ? `${Math.floor(millis / 1000)} s ago` : `${span(millis)} ago`;
}

/** `node_joined` as people read it. */
export function words(name) {
  return name.replaceAll("_", " ");
}
