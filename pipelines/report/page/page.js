// Draws a chart when it is first seen, and again when the system turns dark or light.
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

async function draw(figure) {
  const spec = { params: [], ...JSON.parse(figure.querySelector("script").textContent) };
  const theme = dark.matches ? "dark" : undefined;
  const before = drawn.get(figure);
  for (const param of spec.params.filter(({ bind }) => before && bind)) param.value = before.view.signal(param.name);
  before?.finalize();
  drawn.set(figure, await vegaEmbed(figure.querySelector(".chart"), spec, {
    renderer: "canvas", // a thousand curves are slow as elements of SVG
    theme,
    tooltip: { theme },
    actions: { export: true, source: false, compiled: false, editor: false },
  }));
}

const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (isIntersecting) {
      seen.unobserve(target);
      draw(target);
    }
  }
}, { rootMargin: "400px" });
document.querySelectorAll("figure.drawn").forEach((figure) => seen.observe(figure));
dark.addEventListener("change", () => [...drawn.keys()].forEach(draw));

// Sorts a table by the column whose title is clicked; empty cells come last.
function compare(first, second) {
  const [one, other] = [first, second].map((cell) => cell.dataset.order);
  if (one !== undefined && other !== undefined) return one - other;
  return first.textContent.localeCompare(second.textContent, undefined, { numeric: true });
}

function sort(heading) {
  const column = heading.cellIndex;
  const descending = heading.ariaSort === "ascending";
  const body = heading.closest("table").tBodies[0];
  const cell = (row) => row.cells[column];
  const isEmpty = (row) => cell(row).textContent === "";
  const rows = [...body.rows].sort((first, second) =>
    isEmpty(first) - isEmpty(second) || (descending ? -1 : 1) * compare(cell(first), cell(second)));
  body.append(...rows);
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.ariaSort = descending ? "descending" : "ascending";
}

document.querySelectorAll(".sortable th").forEach((heading) =>
  heading.querySelector("button").addEventListener("click", () => sort(heading)));
