// How do elements come into the page? As text, never as markup, and only where something has changed: what somebody
// has selected or scrolled to stays.

export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...content.filter((part) => part !== undefined && part !== null));
  return made;
}

export function small(...content) {
  return element("small", {}, ...content);
}

/** Puts these children into an element. */
export function fill(id, fresh) {
  const parent = document.getElementById(id);
  fresh.forEach((child, place) => {
    const present = parent.children[place];
    if (!present) parent.append(child);
    else if (!present.isEqualNode(child)) present.replaceWith(child);
  });
  while (parent.children.length > fresh.length) parent.lastElementChild.remove();
}

/** Changes a text, if it is another one: each change is read out to whoever listens. */
export function say(id, text) {
  const target = document.getElementById(id);
  if (target.textContent !== text) target.textContent = text;
}

/** Fills a table. Cells are text, elements, or lists of them, in the order of the columns. */
export function table(id, rows, nothing) {
  const columns = [...document.getElementById(id).closest("table").querySelectorAll("thead th")];
  const labels = columns.map((column) => column.textContent);
  const row = (cells) => element("tr", { role: "row" }, ...cells.map((cell, place) => {
    const attributes = place === 0 ? { role: "rowheader", scope: "row" } : { role: "cell" };
    const content = element("div", {}, ...[cell].flat());
    return element(place === 0 ? "th" : "td", { ...attributes, "data-label": labels[place] }, content);
  }));
  const empty = () => {
    const cell = element("td", { role: "cell", class: "nothing full", colspan: labels.length }, nothing);
    return element("tr", { role: "row" }, cell);
  };
  fill(id, rows.length ? rows.map(row) : [empty()]);
}
