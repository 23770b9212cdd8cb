"use strict";

// Charts: plotly draws, the page's own colors apply, in light, dark and print.
const charts = JSON.parse(document.getElementById("charts").textContent);

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function themed(layout) {
  const axis = { gridcolor: color("--grid"), linecolor: color("--line"), zeroline: false };
  const font = { color: color("--ink"), family: "system-ui, sans-serif", size: 13 };
  const result = {
    ...layout, font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: color("--paper"), bordercolor: color("--line"), font },
  };
  if (layout.legend?.yanchor === "top") {
    // Below everything else, however many lines it takes.
    result.legend = { ...layout.legend, yref: "container", yanchor: "bottom", y: 0 };
  }
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    result[key] = { automargin: true, showgrid: true, fixedrange: true, ...layout[key], ...axis };
  }
  return result;
}

function draw(place) {
  if (!window.Plotly) return;
  const { data, layout } = charts[place.id];
  const options = { responsive: true, displayModeBar: false };
  Plotly.react(place, data, themed(layout), options);
}

function isShown(place) {
  const details = place.closest("details");
  return !details || details.open;
}

const places = [...document.querySelectorAll(".chart")];

// One chart at a time, so that the page can be read and scrolled meanwhile.
async function drawShown() {
  for (const place of places.filter(isShown)) {
    draw(place);
    await new Promise((next) => setTimeout(next));
  }
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

// The library is large: it starts once the page can be read.
async function startCharts() {
  const script = document.createElement("script");
  script.textContent = await unpacked(document.getElementById("plotly").textContent);
  document.head.append(script);
  drawShown();
}

addEventListener("load", () => setTimeout(startCharts));
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => {
    if (details.open) details.querySelectorAll(".chart").forEach(draw);
  });
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawShown);
// A link to a section opens it.
function openTarget() {
  const section = document.getElementById(location.hash.slice(1));
  section?.querySelector(":scope > .fold")?.setAttribute("open", "");
}
addEventListener("hashchange", openTarget);
openTarget();

// Tables of metrics sort by a column; without JavaScript they are plain tables.
function cellKey(row, column) {
  const text = row.cells[column].textContent.trim();
  const value = Number.parseFloat(text);
  return Number.isNaN(value) ? text : value;
}

function sortBy(board, head, column) {
  const falling = head.getAttribute("aria-sort") !== "descending";
  for (const other of board.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const order = (a, b) => {
    const [x, y] = [cellKey(a, column), cellKey(b, column)];
    if (typeof x !== typeof y) return typeof x === "number" ? -1 : 1; // undefined metrics last
    const sign = x > y ? 1 : x < y ? -1 : 0;
    return falling ? -sign : sign;
  };
  board.tBodies[0].append(...[...board.tBodies[0].rows].sort(order));
}

for (const board of document.querySelectorAll(".board")) {
  [...board.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => sortBy(board, head, column));
  });
}
