// What a person would see on the demo page of a living gateway, within ten seconds. Started by run.sh.
//
// Reads only what is on the screen; it waits for a condition, never for a time.

import { createRequire } from "node:module";
import path from "node:path";

const { CHROMIUM, GATEWAY_HTTP, PAGE_ENV } = process.env;
if (!CHROMIUM || !GATEWAY_HTTP || !PAGE_ENV) {
  console.error("page test: start it by run.sh, which sets CHROMIUM, GATEWAY_HTTP and PAGE_ENV");
  process.exit(1);
}
const { chromium } = createRequire(path.join(PAGE_ENV, "package.json"))("playwright-core");

const WITHIN_MS = 10_000;
const DEPTH = 25;
const MOVING_MIN = 5;
const CHECKS_MIN = 20;
const SCREENSHOT = path.join(PAGE_ENV, "page.png");

/** Everything that the checks look at, read in one go so that it belongs to one moment. */
function readPage() {
  const text = (id) => document.getElementById(id).textContent;
  const count = (id) => Number(text(id).replaceAll(",", ""));
  const prices = (id) => [...document.querySelectorAll(`#${id} .p`)].map((one) => one.textContent).filter(Boolean).map(Number);
  return {
    state: document.getElementById("state").dataset.state,
    detail: text("detail"),
    symbol: text("q-symbol"),
    lasts: Object.fromEntries(
      [...document.querySelectorAll(".row:not([hidden])")].map((row) => [row.dataset.symbol, row.querySelector(".b").textContent + row.querySelector(".l").textContent]),
    ),
    asks: prices("asks"),
    bids: prices("bids"),
    trades: document.querySelectorAll("#tape .tr:not([hidden])").length,
    checks: count("m-crc-ok"),
    checksFailed: count("m-crc-bad"),
    links: count("m-link-ok"),
    linksBroken: count("m-link-bad"),
    notices: [...document.querySelectorAll("#log li")].map((line) => line.textContent),
  };
}

/** Makes the page believe that nobody sees it, or that somebody does. */
function hide(hidden) {
  Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}

/** Why a ladder is wrong, or nothing. Asks stand above with the best last, bids below with the best first. */
function ladderFault({ asks, bids }) {
  if (asks.length !== DEPTH || bids.length !== DEPTH) return `${asks.length} asks and ${bids.length} bids, ${DEPTH} wanted`;
  const all = [...asks, ...bids];
  const at = all.findIndex((price, index) => index > 0 && !(price < all[index - 1]));
  if (at > 0) return `level ${at} (${all[at]}) does not lie below level ${at - 1} (${all[at - 1]})`;
  return "";
}

const faults = [];
function check(holds, name, found = "") {
  console.log(`${holds ? "ok  " : "FAIL"} ${name}${found === "" ? "" : `: ${found}`}`);
  if (!holds) faults.push(name);
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
try {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "dark" });
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    const { protocol, origin } = new URL(request.url());
    if (protocol !== "data:" && origin !== new URL(GATEWAY_HTTP).origin) complaints.push(`loads ${request.url()}`);
  });

  let updates = 0;
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      if (String(payload).includes('"type":"update","data":[{"symbol"')) updates += 1;
    }),
  );

  /** Whether there is a second without an update before the time is over. */
  async function becomesQuiet(end) {
    const QUIET_MS = 1_000;
    let [seen, since] = [updates, Date.now()];
    while (Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (updates !== seen) [seen, since] = [updates, Date.now()];
      if (Date.now() - since > QUIET_MS) return true;
    }
    return false;
  }

  const deadline = Date.now() + WITHIN_MS;
  await page.goto(GATEWAY_HTTP, { timeout: WITHIN_MS });

  /** Reads the page, once a frame or so, until something holds or the time is over; answers what was read last. */
  async function until(holds, end = deadline) {
    for (;;) {
      const seen = await page.evaluate(readPage);
      if (holds(seen) || Date.now() > end) return seen;
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 20))));
    }
  }

  // A ticker moves when its prices change after they were first seen.
  const first = new Map();
  const moved = new Set();
  const watch = ({ lasts }) => {
    for (const [symbol, prices] of Object.entries(lasts)) {
      if (!first.has(symbol) && /\d/.test(prices)) first.set(symbol, prices);
      else if (first.has(symbol) && first.get(symbol) !== prices) moved.add(symbol);
    }
    return moved.size >= MOVING_MIN;
  };
  const ready = (seen) =>
    watch(seen) && seen.state === "live" && !ladderFault(seen) && seen.trades > 0 && seen.checks > CHECKS_MIN;
  const seen = await until(ready);

  check(seen.state === "live", "the connection is live", [seen.state, seen.detail].filter(Boolean).join(" "));
  check(moved.size >= MOVING_MIN, `at least ${MOVING_MIN} tickers move`, moved.size);
  check(!ladderFault(seen), "the ladder is complete, in order and not crossed", ladderFault(seen));
  check(seen.trades > 0, "trades appear", seen.trades);
  check(seen.checks > CHECKS_MIN, `more than ${CHECKS_MIN} checksums fit`, seen.checks);

  const other = Object.keys(seen.lasts).find((symbol) => symbol !== seen.symbol);
  check(other !== undefined, "there is another market to choose");
  if (other !== undefined) {
    await page.click(`.row[data-symbol="${other}"]`);
    // Another market has other prices, though two pegged ones may share a few.
    const before = new Set([...seen.asks, ...seen.bids]);
    const shared = (now) => [...now.asks, ...now.bids].filter((price) => before.has(price)).length;
    const isOther = (now) => now.symbol === other && !ladderFault(now) && shared(now) < DEPTH;
    const now = await until(isOther, Date.now() + WITHIN_MS);
    check(isOther(now), `choosing ${other} changes the ladder`, `${now.symbol}, best ${now.bids[0]} / ${now.asks.at(-1)}`);
  }

  // A hidden page takes nothing, and shows a true book again when it is seen.
  await page.evaluate(hide, true);
  check(await becomesQuiet(Date.now() + WITHIN_MS), "a hidden page is sent nothing more");
  await page.evaluate(hide, false);
  const links = (await page.evaluate(readPage)).links;
  const back = await until((now) => now.links > links + CHECKS_MIN && !ladderFault(now), Date.now() + WITHIN_MS);
  check(back.links > links + CHECKS_MIN && !ladderFault(back), "a page that is seen again is caught up", ladderFault(back));

  const last = await page.evaluate(readPage);
  check(last.checksFailed === 0, "no checksum fails", last.checksFailed);
  check(last.linksBroken === 0, "no link is broken", `${last.links} whole, ${last.linksBroken} broken`);
  check(complaints.length === 0, "the console is silent and nothing is loaded from elsewhere", complaints.join(" | "));
  await page.screenshot({ path: SCREENSHOT });
  console.log(`screenshot: ${SCREENSHOT}`);
  if (faults.length) console.error(`page test: failed: ${faults.join("; ")}\nnotices on the page:\n  ${last.notices.join("\n  ")}`);
} finally {
  await browser.close();
}
process.exit(faults.length ? 1 : 0);
