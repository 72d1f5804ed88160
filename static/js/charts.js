// Charts: a crosshair with values, linked between all charts of the page; brushing zooms.

const NS = "http://www.w3.org/2000/svg";
const time = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

function parts(chart) {
  const svg = chart.querySelector("svg[data-times]");
  if (!svg) return null;
  const box = svg.getBoundingClientRect();
  return {
    layer: svg,
    shapes: svg.querySelectorAll("[data-values]"),
    times: svg.dataset.times.split(" ").map(Number),
    left: box.left,
    width: Math.max(box.width, 1),
  };
}

function nearest(event, plot) {
  const last = plot.times.length - 1;
  const share = (event.clientX - plot.left) / plot.width;
  return Math.min(Math.max(Math.round(share * last), 0), last);
}

function share(plot, index) {
  return (index / Math.max(plot.times.length - 1, 1)) * 100;
}

function put(layer, name, className, attributes) {
  let element = layer.querySelector(`.${className}`);
  if (!element) {
    element = document.createElementNS(NS, name);
    element.classList.add(className);
    layer.append(element);
  }
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
}

function showAt(moment, source) {
  for (const chart of document.querySelectorAll(".chart")) {
    const plot = parts(chart);
    if (!plot) continue;
    let index = plot.times.findIndex((at) => at >= moment);
    if (index < 0) index = plot.times.length - 1;
    const x = `${share(plot, index)}%`;
    put(plot.layer, "line", "cursor", { x1: x, x2: x, y1: 10, y2: 172 });
    if (chart === source) tip(chart, plot, index);
  }
}

function tip(chart, plot, index) {
  let box = chart.querySelector(".chart-tip");
  if (!box) {
    box = document.createElement("div");
    box.className = "chart-tip";
    chart.append(box);
  }
  const rows = [document.createElement("div")];
  rows[0].className = "muted";
  rows[0].textContent = time.format(new Date(plot.times[index] * 1000));
  for (const shape of plot.shapes) {
    const row = document.createElement("div");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${shape.dataset.kind}`;
    const value = document.createElement("b");
    value.textContent = shape.dataset.values.split("|")[index] || "–";
    row.append(swatch, shape.dataset.word, value);
    rows.push(row);
  }
  for (const mark of plot.layer.querySelectorAll(`.mark[data-moment="${plot.times[index]}"]`)) {
    const row = document.createElement("div");
    const swatch = document.createElement("span");
    swatch.className = `swatch ${mark.classList[1]}`;
    row.append(swatch, mark.dataset.text);
    rows.push(row);
  }
  box.replaceChildren(...rows);
  const at = plot.left - chart.getBoundingClientRect().left + (share(plot, index) / 100) * plot.width;
  const wide = box.offsetWidth;
  const free = chart.clientWidth;
  box.style.left = `${at + wide + 16 > free ? at - wide - 12 : at + 12}px`;
}

function hide() {
  document.querySelectorAll(".chart-tip, .chart .cursor, .chart .brush").forEach((one) => one.remove());
}

let brush = null;

document.addEventListener("pointermove", (event) => {
  const chart = event.target.closest?.(".chart");
  const plot = chart && parts(chart);
  if (!plot) {
    if (!brush) hide();
    return;
  }
  const index = nearest(event, plot);
  showAt(plot.times[index], chart);
  if (brush && brush.chart === chart) {
    const [a, b] = [share(plot, brush.index), share(plot, index)].sort((one, two) => one - two);
    put(plot.layer, "rect", "brush", { x: `${a}%`, width: `${b - a}%`, y: 10, height: 162 });
  }
});

document.addEventListener("pointerdown", (event) => {
  const chart = event.target.closest?.(".chart");
  const plot = chart && parts(chart);
  if (plot && event.button === 0) brush = { chart, index: nearest(event, plot) };
});

document.addEventListener("pointerup", (event) => {
  if (!brush) return;
  const { chart, index } = brush;
  brush = null;
  const plot = parts(chart);
  if (!plot || event.target.closest?.(".chart") !== chart) return hide();
  const other = nearest(event, plot);
  if (Math.abs(other - index) < 2) return hide();
  // a moment is its bucket's beginning: the last one counts whole
  const width = plot.times[1] - plot.times[0];
  const [from, to] = [plot.times[Math.min(index, other)], plot.times[Math.max(index, other)] + width];
  const target = new URL(location.href);
  target.searchParams.set("from", from);
  target.searchParams.set("to", to);
  location.assign(target);
});

document.addEventListener("htmx:before:swap", hide);
