// A phone shows the graphs of a figure below each other. A legend would take their width: it
// stands below one graph, and above several.
function narrow(layout) {
  layout.legend = { ...layout.legend, orientation: "h", x: 0, y: -0.3, yanchor: "top" };
  layout.margin = { ...layout.margin, l: 50, r: 10, t: 50 };
  const numbers = Object.keys(layout).flatMap((key) => /^xaxis(\d*)$/.exec(key)?.[1] ?? []);
  const graphs = numbers.map((number) => ({ x: layout["xaxis" + number], y: layout["yaxis" + number] }));
  if (graphs.length < 2 || graphs.some(({ x, y }) => !x.domain || !y?.domain)) return;
  graphs.sort((a, b) => b.y.domain[0] - a.y.domain[0] || a.x.domain[0] - b.x.domain[0]);
  const share = 1 / graphs.length;
  for (const [place, { x, y }] of graphs.entries()) {
    const top = 1 - place * share;
    const title = (layout.annotations ?? []).find((note) =>
      note.xref === "paper" && Math.abs(note.y - y.domain[1]) < 0.02 &&
      note.x >= x.domain[0] && note.x <= x.domain[1]);
    if (title) Object.assign(title, { x: 0.5, y: top });
    Object.assign(x, { domain: [0, 1], automargin: true });
    y.domain = [top - 0.62 * share, top];
  }
  layout.height = 260 * graphs.length;
  Object.assign(layout.legend, { y: 1 + 0.12 * share, yanchor: "bottom" });
  layout.margin.t = 110;
}

document.addEventListener("DOMContentLoaded", () => {
  const finger = matchMedia("(pointer: coarse)").matches;
  // Stored figures; a page that has some loads plotly.min.js before the first.
  for (const holder of document.querySelectorAll(".interactive-figure")) {
    const figure = JSON.parse(holder.querySelector("script").textContent);
    if (holder.clientWidth < 600) narrow(figure.layout);
    // A finger scrolls the page, not the graph.
    if (finger) figure.layout.dragmode = false;
    holder.style.minHeight = `${figure.layout.height ?? 450}px`;
    holder.closest(".cell_output")?.classList.add("has-figure");
    const config = { responsive: true, displaylogo: false };
    if (finger) config.displayModeBar = false;
    Plotly.newPlot(holder, { ...figure, config });
  }
  // Tables keep their columns and scroll; a line as long as this is a sentence.
  for (const box of document.querySelectorAll(".cell_output pre")) {
    box.classList.toggle("sentences", box.textContent.split("\n").some((line) => line.length > 110));
  }
  // A keyboard reaches what scrolls, and the side bar's captions have a level.
  for (const box of document.querySelectorAll("pre, .output, .table-wrapper, .formula")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  for (const caption of document.querySelectorAll(".caption[role=heading]")) {
    caption.setAttribute("aria-level", "2");
  }
  // A picture is opened in full by a tap.
  for (const picture of document.querySelectorAll("article img:not(a img, .has-figure img)")) {
    const link = document.createElement("a");
    link.href = picture.src;
    picture.replaceWith(link);
    link.append(picture);
  }
});
