// The graph: drag to pan, wheel or buttons to zoom, fit.  The drawing itself comes from the server
// and is swapped live; what is looked at lives here, by graph, as a view box.

const views = new Map();
const SMALLEST = 4; // units per pixel: beyond, not even the states can be told apart
const READABLE = 1.2;

function whole(svg) {
  const [width, height] = svg.dataset.size.split(" ").map(Number);
  const box = svg.parentElement.getBoundingClientRect();
  const scale = Math.max(width / box.width, height / box.height, 1 / 1.15);
  const [w, h] = [box.width * scale, box.height * scale];
  return { x: (width - w) / 2, y: (height - h) / 2, w, h };
}

// What is shown at first: all of it, or, where that would be dots, its beginning, which fades out.
function first(svg) {
  const all = whole(svg);
  const box = svg.parentElement.getBoundingClientRect();
  if (all.w / box.width < SMALLEST) return all;
  const [w, h] = [box.width * READABLE, box.height * READABLE];
  return { x: 0, y: all.y + (all.h - h) / 2, w, h };
}

function apply(svg) {
  if (!svg.clientWidth) return; // not laid out yet
  const view = views.get(svg.dataset.graph) ?? first(svg);
  svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
  const [width] = svg.dataset.size.split(" ").map(Number);
  svg.parentElement.classList.toggle("goes-on", view.x + view.w < width);
}

function applyAll() {
  document.querySelectorAll("svg[data-graph]").forEach(apply);
}

function zoom(svg, factor, at) {
  const view = views.get(svg.dataset.graph) ?? first(svg);
  const point = at ?? { x: view.x + view.w / 2, y: view.y + view.h / 2 };
  const w = Math.min(Math.max(view.w * factor, 120), 200000);
  const ratio = w / view.w;
  views.set(svg.dataset.graph, {
    x: point.x - (point.x - view.x) * ratio,
    y: point.y - (point.y - view.y) * ratio,
    w,
    h: view.h * ratio,
  });
  apply(svg);
}

function point(svg, event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
}

document.addEventListener(
  "wheel",
  (event) => {
    const svg = event.target.closest?.("svg[data-graph]");
    if (!svg || !(event.ctrlKey || event.metaKey || event.shiftKey)) return;
    event.preventDefault();
    zoom(svg, Math.exp((event.deltaY || event.deltaX) / 400), point(svg, event));
  },
  { passive: false },
);

let drag = null;

document.addEventListener("pointerdown", (event) => {
  const svg = event.target.closest?.("svg[data-graph]");
  if (!svg || event.button !== 0) return;
  drag = { svg, x: event.clientX, y: event.clientY, view: views.get(svg.dataset.graph) ?? first(svg), moved: false };
});

document.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(dx, dy) < 4) return;
  drag.moved = true;
  const scale = drag.view.w / drag.svg.getBoundingClientRect().width;
  views.set(drag.svg.dataset.graph, { ...drag.view, x: drag.view.x - dx * scale, y: drag.view.y - dy * scale });
  apply(drag.svg);
});

document.addEventListener("pointerup", () => setTimeout(() => (drag = null)));
document.addEventListener(
  "click",
  (event) => {
    if (drag?.moved && event.target.closest?.("svg[data-graph]")) event.preventDefault();
    const button = event.target.closest?.("[data-graph-do]");
    const svg = button?.closest(".graph").querySelector("svg[data-graph]");
    if (!svg) return;
    if (button.dataset.graphDo === "in") zoom(svg, 0.8);
    if (button.dataset.graphDo === "out") zoom(svg, 1.25);
    if (button.dataset.graphDo === "fit") {
      views.set(svg.dataset.graph, whole(svg));
      apply(svg);
    }
  },
  true,
);
document.addEventListener("dragstart", (event) => {
  if (event.target.closest?.("svg[data-graph]")) event.preventDefault();
});

applyAll();
addEventListener("resize", applyAll);
document.addEventListener("htmx:after:swap", applyAll);
