// What a person sees who opens the HTML report of a load test. Started by run.sh.
//
// The browser is offline, and every request but that of the file itself is a fault. Reads only what is on the screen.

import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const { CHROMIUM, REPORT, PAGE_ENV } = process.env;
if (!CHROMIUM || !REPORT || !PAGE_ENV) {
  console.error("report test: start it by run.sh, which sets CHROMIUM, REPORT and PAGE_ENV");
  process.exit(1);
}
const { chromium } = createRequire(path.join(PAGE_ENV, "package.json"))("playwright-core");
const PLOTS = ["Latency by quantile", "Latency over time", "Rate", "Lag", "Clients", "CPU", "Memory"];

/** Everything that the checks look at. */
function readPage() {
  const visible = (element) => element.getBoundingClientRect().width > 100 && element.getBoundingClientRect().height > 50;
  return {
    title: document.querySelector("h1").textContent,
    verdict: document.querySelector(".verdict").textContent,
    tiles: Object.fromEntries([...document.querySelectorAll(".tiles div")].map((tile) => [tile.querySelector("span").textContent, tile.querySelector("b").textContent])),
    plots: [...document.querySelectorAll("figure")].map((figure) => ({
      title: figure.querySelector("h2").textContent,
      visible: visible(figure.querySelector("svg")),
      // A line of a plot that shows something has many points and some height.
      lines: [...figure.querySelectorAll("polyline")].filter((line) => line.points.numberOfItems >= 4 && line.getBBox().width > 100).length,
    })),
    rows: document.querySelectorAll("tbody tr").length,
    overflow: document.documentElement.scrollWidth > window.innerWidth,
  };
}

const faults = [];
function check(holds, name, found = "") {
  if (!holds) faults.push(`${name}${found === "" ? "" : `: ${JSON.stringify(found)}`}`);
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ offline: true, viewport: { width: 1400, height: 1000 } });
  const page = await context.newPage();
  const address = pathToFileURL(path.resolve(REPORT)).href;
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  page.on("pageerror", (error) => faults.push(`error on the page: ${error.message}`));
  page.on("console", (message) => message.type() === "error" && faults.push(`console: ${message.text()}`));
  await page.goto(address);
  const shown = await page.evaluate(readPage);
  check(requests.every((url) => url === address), "it asks for nothing else", requests);
  check(shown.verdict === "clean", "the verdict is clean", shown.verdict);
  check(Number(shown.tiles["messages/s"]?.replaceAll(",", "")) > 0, "messages arrived", shown.tiles);
  check(shown.tiles.violations === "0", "there are no violations", shown.tiles);
  for (const title of PLOTS) {
    const plot = shown.plots.find((one) => one.title === title);
    check(plot?.visible && plot.lines > 0, `the plot "${title}" shows a line`, plot ?? "it is not there");
  }
  check(shown.rows > 15, "the tables have rows", shown.rows);
  check(!shown.overflow, "nothing is wider than the window");
  await page.screenshot({ path: path.join(PAGE_ENV, "report.png"), fullPage: true });
  await page.setViewportSize({ width: 420, height: 900 });
  check(!(await page.evaluate(readPage)).overflow, "nothing is wider than a narrow window");
  await page.screenshot({ path: path.join(PAGE_ENV, "report-narrow.png"), fullPage: true });
} finally {
  await browser.close();
}
for (const fault of faults) console.error(`report test: ${fault}`);
console.log(faults.length ? `${faults.length} checks failed` : `all checks hold; screenshot in ${path.join(PAGE_ENV, "report.png")}`);
process.exit(faults.length ? 1 : 0);
