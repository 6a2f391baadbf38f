document.addEventListener("DOMContentLoaded", () => {
  // Stored figures; a page that has some loads plotly.min.js before the first.
  for (const holder of document.querySelectorAll(".interactive-figure")) {
    const figure = JSON.parse(holder.querySelector("script").textContent);
    // On a phone one graph fits, its legend below it; several stay wide, and scroll.
    const alone = !("xaxis2" in figure.layout);
    holder.classList.toggle("alone", alone);
    if (alone && holder.clientWidth < 600) {
      figure.layout.legend = { ...figure.layout.legend, orientation: "h", y: -0.3 };
      figure.layout.margin = { ...figure.layout.margin, l: 50, r: 10 };
    }
    Plotly.newPlot(holder, { ...figure, config: { responsive: true, displaylogo: false } });
  }
  // A keyboard reaches what scrolls, and the side bar's captions have a level.
  for (const box of document.querySelectorAll("pre, .output, .table-wrapper, .formula")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  }
  for (const caption of document.querySelectorAll(".caption[role=heading]")) {
    caption.setAttribute("aria-level", "2");
  }
});
