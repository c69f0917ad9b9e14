// The cases of main.rs, in Chromium: `node cases.js CASE`, with what it needs in the environment. Ends with 0 if all is as it must be.
//
// In every case: no error of a script, nothing that the Content-Security-Policy had to stop, and no request to anywhere else.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";

const { PAGE, PACKAGES, CHROMIUM, PICTURES } = process.env;
const given = JSON.parse(process.env.GIVEN);
const { chromium } = createRequire(`${PACKAGES}/`)("playwright-core");
const name = process.argv[2];

const PATHS = ["/", "/subscriptions", "/sessions", "/dead-letters", "/quarantine", "/webhooks", "/story"];

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  headless: true,
  args: [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP rebound.test 127.0.0.1",
  ],
});
let latest = null;

/** A page that is watched. `expected` are beginnings of errors that belong to the case. */
async function open(options = {}, expected = []) {
  const context = await browser.newContext({ baseURL: PAGE, viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const errors = [];
  page.on("pageerror", (error) => errors.push(`${error}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected.some((text) => message.text().includes(text))) errors.push(message.text());
  });
  page.on("request", (request) => {
    if (!expected.includes("elsewhere") && !request.url().startsWith(PAGE)) errors.push(`a request to ${request.url()}`);
  });
  page.errors = errors;
  latest = page;
  return page;
}

function fine(page) {
  assert.deepEqual(page.errors, []);
}

async function see(page, path, heading) {
  const answer = await page.goto(path);
  assert.equal(answer.status(), 200, path);
  if (heading) assert.match(await page.locator("h1").innerText(), heading);
  return answer;
}

async function picture(page, what) {
  await page.screenshot({ path: join(PICTURES, `${name}-${what}.png`), fullPage: true });
}

/** The same page, light and dark. */
async function pictures(path, what, settled = async () => {}) {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open({ colorScheme });
    await see(page, path);
    await settled(page);
    await picture(page, `${what}-${colorScheme}`);
    fine(page);
    await page.context().close();
  }
}

const rows = (page) => page.locator("tbody tr");

const cases = {
  async empty() {
    const page = await open();
    for (const path of PATHS) {
      const answer = await see(page, path);
      const headers = answer.headers();
      assert.match(headers["content-security-policy"], /default-src 'none'/);
      assert.doesNotMatch(headers["content-security-policy"], /unsafe/);
      assert.equal(headers["x-frame-options"], "DENY");
      assert.equal(headers["x-content-type-options"], "nosniff");
      assert.equal(headers["cache-control"], "no-store");
      assert.equal(await page.locator("h1").count(), 1, path);
      assert.equal(await page.locator("nav [aria-current=page]").count(), 1, path);
    }
    await see(page, "/", /Overview/);
    await page.getByText("No event was accepted yet").waitFor();
    await page.getByText("There is no subscription").waitFor();
    await page.getByText("not heard from yet").waitFor();
    await see(page, "/dead-letters");
    await page.getByText("There is no such dead letter").waitFor();
    for (const path of ["/dead-letters/0000000000000000-1", "/subscriptions/nobody", "/quarantine/00"]) {
      assert.equal((await page.goto(path)).status(), 404, path);
      await page.getByText("Back to the overview").waitFor();
    }
    assert.equal((await page.goto("/dead-letters?after=nonsense")).status(), 400);
    page.errors.length = 0; // Chromium tells of each of these answers.
    await see(page, "/story?source=a&id=b");
    assert.match(await page.getByRole("alert").innerText(), /no event "b" of source "a" is kept/);
    fine(page);
    await pictures("/", "overview");
  },

  async every_page() {
    const page = await open();
    for (const path of PATHS) {
      await see(page, path);
      const links = await page.locator("main a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
      for (const link of links) await see(page, link);
    }
    fine(page);
  },

  async busy() {
    const page = await open();
    await see(page, "/");
    await page.locator(".live.on").waitFor();
    const accepted = () => page.locator("#sources tbody tr:first-child td:nth-of-type(3)").innerText();
    const before = await accepted();
    await page.waitForFunction((before) => document.querySelector("#sources tbody tr:first-child td:nth-of-type(3)").innerText !== before, before);
    for (const label of ["Accepted now", "Delivered now", "Settled now"]) {
      await page.waitForFunction((label) => [...document.querySelectorAll("#now .figure")].some((each) => each.innerText.includes(label) && !/\n0\s/.test(each.innerText)), label);
    }
    // A reader's place is kept while parts are replaced.
    await page.locator("#subscriptions a", { hasText: "routing" }).first().focus();
    const now = await accepted();
    await page.waitForFunction((now) => document.querySelector("#sources tbody tr:first-child td:nth-of-type(3)").innerText !== now, now);
    assert.equal(await page.evaluate(() => document.activeElement.innerText), "routing");
    await page.getByRole("button", { name: "Pause" }).click();
    await page.getByText("Paused").waitFor();
    await page.getByRole("button", { name: "Go on" }).click();
    await page.locator(".live.on").waitFor();
    const row = page.locator("#subscriptions tr", { hasText: "stock" });
    assert.match(await row.innerText(), /working/);
    await row.getByRole("link", { name: "stock" }).first().click();
    await page.locator("#sessions td", { hasText: "shop-floor" }).waitFor();
    assert.match(await page.locator("#state").innerText(), /Outstanding\s+[1-9]/);
    await picture(page, "subscription");
    await see(page, "/sessions");
    assert.ok((await rows(page).count()) >= 4);
    await see(page, "/quarantine");
    await rows(page).first().getByRole("link").first().click();
    await page.locator("pre", { hasText: "SHIP-9" }).waitFor();
    assert.match(await page.locator("main").innerText(), /\(masked\)/);
    await picture(page, "webhook");
    fine(page);
    const settled = (page) => page.locator(".live.on").waitFor();
    await pictures("/", "overview", settled);
    await pictures("/subscriptions/stock", "subscription", settled);
    await pictures("/dead-letters", "dead-letters");
    const narrow = await open({ viewport: { width: 390, height: 800 } });
    await see(narrow, "/");
    assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "the page is wider than the screen");
    await picture(narrow, "narrow");
    fine(narrow);
  },

  async thousand() {
    const page = await open();
    await see(page, "/dead-letters");
    const seen = new Set();
    for (;;) {
      for (const id of await page.locator("tbody input").evaluateAll((boxes) => boxes.map((box) => box.value))) seen.add(id);
      const next = page.getByRole("link", { name: "Next page" });
      if ((await next.count()) === 0) break;
      await next.click();
      await page.waitForLoadState();
    }
    assert.equal(seen.size, given.count);
    await page.getByRole("link", { name: "First page" }).click();
    await page.getByLabel("All on this page").check();
    const chosen = await page.locator("tbody input:checked").count();
    assert.equal(chosen, 50);
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "50 dead letters are on their way again.");
    assert.equal(await page.getByText("redriving").count(), 50);
    await see(page, "/dead-letters?reason=1");
    await page.getByText("There is no such dead letter").waitFor();
    await see(page, "/dead-letters?subscription=billing&reason=3&event_type=shop.order_placed");
    assert.equal(await rows(page).count(), 50);
    await see(page, "/");
    assert.match(await page.locator("#subscriptions tr", { hasText: "billing" }).innerText(), /\b50\b[^]*950/);

    // All that match, once it was said how many they are.
    await see(page, "/dead-letters?subscription=billing");
    const all = page.getByRole("button", { name: "Redrive all that match" });
    await all.click();
    assert.match(await page.locator("h1").innerText(), /Redrive 950 dead letters\?/);
    assert.match(await page.locator(".facts").innerText(), /billing/);
    await picture(page, "sure");
    await page.getByRole("link", { name: "Leave them" }).click();
    assert.match(page.url(), /\/dead-letters\?subscription=billing$/);
    assert.equal(await page.getByText("redriving").count(), 50, "nothing was done");
    await all.click();
    await page.getByRole("button", { name: "Redrive 950" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "950 dead letters are on their way again.");
    await all.click();
    assert.match(await page.getByRole("alert").innerText(), /No dead letter matches/);
    fine(page);
    await pictures("/dead-letters", "list");
  },

  async hostile() {
    const page = await open();
    const links = new Set(PATHS);
    for (const path of links) {
      await see(page, path);
      const found = await page.locator("main a").evaluateAll((links) => links.map((link) => link.getAttribute("href")));
      // Those within a page lead nowhere else.
      for (const link of found.filter((link) => !link.startsWith("#"))) links.add(link);
      for (const details of await page.locator("summary").all()) await details.click();
      assert.equal(await page.evaluate(() => window.pwned), undefined, path);
      assert.equal(await page.locator("script").count(), 1, path);
      assert.equal(await page.locator("main img, main b, main i, a[href^=javascript], [onerror], [onload]").count(), 0, path);
    }
    assert.ok([...links].some((path) => path.startsWith("/dead-letters/")) && [...links].some((path) => path.startsWith("/quarantine/")));
    await see(page, [...links].find((path) => path.startsWith("/dead-letters/")));
    assert.ok((await page.locator("pre").innerText()).includes(JSON.stringify(given.text).slice(1, -1)));
    assert.ok((await page.locator("main").innerText()).includes("\\u{202e}"), "a character that turns the text round is shown as what it is");
    await picture(page, "dead-letter");
    await page.getByRole("link", { name: "Its story" }).click();
    assert.ok((await page.locator("article").first().innerText()).includes(given.id));
    await picture(page, "story");
    await see(page, `/story?${new URLSearchParams({ source: given.text, id: given.text })}`);
    await see(page, `/dead-letters?${new URLSearchParams({ subscription: given.text, event_type: given.text })}`);
    assert.equal(await page.getByLabel("Subscription").inputValue(), given.text);
    assert.equal(await page.evaluate(() => window.pwned), undefined);
    fine(page);
  },

  async actions() {
    const page = await open();
    await see(page, "/dead-letters");
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.match(await page.getByRole("alert").innerText(), /Choose at least one/);

    await rows(page).nth(0).getByRole("checkbox").check();
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "One dead letter is on its way again.");
    assert.match(await rows(page).nth(0).innerText(), /redriving/);

    await rows(page).nth(1).getByRole("link").click();
    const story = page.locator("main");
    assert.match(await story.innerText(), /no such customer: \d/);
    assert.match(await page.locator("pre").innerText(), /"total": 12345678901234567890.10/);
    await page.getByRole("button", { name: "Redrive" }).click();
    await page.getByText("it is on its way again").waitFor();
    assert.ok(await page.getByRole("button", { name: "Redrive" }).isDisabled());

    await see(page, "/dead-letters");
    await rows(page).nth(2).getByRole("link").click();
    const gone = page.url();
    await page.getByRole("button", { name: "Discard" }).click();
    assert.match(await page.locator("h1").innerText(), /Discard a dead letter\?/);
    await picture(page, "sure");
    await page.getByRole("link", { name: "Keep it" }).click();
    assert.equal(page.url(), gone);
    await page.getByRole("button", { name: "Discard" }).click();
    await page.getByRole("button", { name: "Discard 1 dead letter" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "One dead letter is discarded.");
    await picture(page, "done");
    assert.equal(await rows(page).count(), 5);
    fine(page);
    assert.equal((await page.goto(gone)).status(), 404);
    page.errors.length = 0;

    await see(page, "/dead-letters");
    for (const number of [2, 3]) await rows(page).nth(number).getByRole("checkbox").check();
    await page.getByRole("button", { name: "Discard the chosen" }).click();
    await page.getByRole("button", { name: "Discard 2 dead letters" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "2 dead letters are discarded.");
    assert.equal(await rows(page).count(), 3);
    // Loading the page again does nothing again.
    await page.reload();
    assert.equal(await rows(page).count(), 3);
    fine(page);
  },

  async pausing() {
    const watcher = await open();
    await see(watcher, "/subscriptions/billing");
    await watcher.locator(".live.on").waitFor();
    // What is being written stays while parts are replaced.
    await watcher.getByLabel("Why").fill("half a sen");

    const page = await open();
    await see(page, "/subscriptions/billing");
    await page.getByLabel("Why").focus();
    await page.keyboard.type("<b>deploy</b>");
    await page.keyboard.press("Enter");
    await page.locator(".note", { hasText: "Deliveries of billing are paused" }).waitFor();
    assert.match(await page.locator("#state").innerText(), /paused <b>deploy<\/b>/);
    await picture(page, "paused");
    await watcher.getByRole("button", { name: "Resume deliveries" }).waitFor();
    await see(page, "/");
    assert.match(await page.locator("#subscriptions tr", { hasText: "billing" }).innerText(), /paused/);

    // Loading the page again does nothing again, and without a script it goes on.
    const plain = await open({ javaScriptEnabled: false });
    await see(plain, "/subscriptions/billing");
    await plain.getByRole("button", { name: "Resume deliveries" }).click();
    await plain.locator(".note", { hasText: "Deliveries of billing go on" }).waitFor();
    await plain.reload();
    assert.doesNotMatch(await plain.locator("#state").innerText(), /paused/);
    await watcher.getByRole("button", { name: "Pause deliveries" }).waitFor();

    const stale = await open({}, ["403"]);
    await see(stale, "/subscriptions/billing");
    await stale.locator("form[action='/pause'] input[name=key]").evaluate((input) => { input.value = "0".repeat(64); });
    await stale.getByRole("button", { name: "Pause deliveries" }).click();
    assert.match(await stale.getByRole("alert").innerText(), /not one of this page/);
    fine(stale);
    await see(page, "/subscriptions/billing");
    assert.doesNotMatch(await page.locator("#state").innerText(), /paused/);
    for (const each of [page, plain, watcher]) fine(each);
  },

  async revoked() {
    const page = await open({ ignoreHTTPSErrors: true }, ["401"]);
    assert.match(PAGE, /^https:/);
    await page.goto("/");
    await page.getByLabel("Token").fill(given.token);
    await page.getByRole("button", { name: "Sign in" }).click();
    const [cookie] = await page.context().cookies();
    assert.ok(cookie.secure && cookie.httpOnly, "over TLS the cookie stays on TLS");
    await page.locator(".live.on").waitFor();
    await see(page, "/subscriptions/billing");
    await page.getByLabel("Why").fill("over TLS");
    await page.getByRole("button", { name: "Pause deliveries" }).click();
    await page.locator(".note", { hasText: "Deliveries of billing are paused" }).waitFor();
    await page.locator(".live.on").waitFor();

    execFileSync(given.program, ["token", "revoke", "boss"], { cwd: given.folder });
    // The stream ends, and is not given again.
    await page.getByText("Not live").waitFor();
    await page.getByRole("button", { name: "Try again" }).click();
    await page.getByText("Not live").waitFor();
    await page.reload();
    assert.match(page.url(), /\/sign-in\?to=/);
    assert.equal(await page.locator("table, nav").count(), 0);
    fine(page);
  },

  async without_script() {
    const page = await open({ javaScriptEnabled: false });
    for (const path of PATHS) await see(page, path);
    await see(page, "/");
    assert.ok((await page.locator("#latest tbody tr").count()) > 5);
    assert.equal(await page.locator(".live").isVisible(), false);
    await page.locator("#subscriptions a", { hasText: "billing" }).first().click();
    assert.match(await page.locator("h1").innerText(), /billing/);
    await see(page, "/quarantine");
    await rows(page).first().getByRole("link").first().click();
    assert.match(await page.locator("pre").innerText(), /shipping_delay/);
    await see(page, "/");
    await page.locator("#latest th a").first().click();
    await page.locator("summary").first().click();
    assert.ok(await page.locator("details pre").first().isVisible());
    await see(page, "/dead-letters?subscription=billing");
    await rows(page).nth(0).getByRole("checkbox").check();
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "One dead letter is on its way again.");
    await rows(page).nth(1).getByRole("checkbox").check();
    await page.getByRole("button", { name: "Discard the chosen" }).click();
    await page.getByRole("button", { name: "Discard 1 dead letter" }).click();
    assert.equal(await rows(page).count(), 1);
    await page.getByRole("button", { name: "Redrive all that match" }).click();
    assert.match(await page.getByRole("alert").innerText(), /No dead letter matches/, "the one that is left is on its way already");
    fine(page);
  },

  async cross_site() {
    const page = await open();
    await see(page, "/dead-letters");
    const [id] = await page.locator("tbody input").evaluateAll((boxes) => boxes.map((box) => box.value));
    const key = await page.locator("input[name=key]").first().inputValue();
    fine(page);

    // Even with a stolen key.
    const form = `<form method="post" action="${PAGE}/dead-letters/discard"><input name="key" value="${key}"><input name="sure" value="yes">
      <input name="id" value="${id}"><button>Win</button></form><iframe src="${PAGE}/"></iframe>`;
    const site = createServer((_, response) => response.setHeader("content-type", "text/html").end(form)).listen(0, "127.0.0.1");
    await new Promise((done) => site.once("listening", done));
    for (const host of ["127.0.0.1", "localhost"]) {
      const evil = await open({}, ["elsewhere", "Refused to", "Framing", "403", "frame"]);
      await evil.goto(`http://${host}:${site.address().port}/`);
      assert.equal(await evil.frames()[1]?.locator("link[href='/page/style.css']").count() ?? 0, 0, "it must not be framed");
      const answer = evil.waitForResponse((answer) => answer.url().endsWith("/discard"));
      await evil.getByRole("button").click();
      assert.equal((await answer).status(), 403);
      // Nor read, by a script.
      const read = await evil.context().newPage();
      await read.goto(`http://${host}:${site.address().port}/`);
      const outcome = await read.evaluate((url) => fetch(url, { credentials: "include" }).then(() => "read", () => "refused"), `${PAGE}/dead-letters`);
      assert.equal(outcome, "refused");
      await evil.context().close();
    }
    site.close();

    // Under a name that was made to mean this machine.
    const rebound = await open({}, ["elsewhere", "421"]);
    assert.equal((await rebound.goto(`${PAGE.replace("127.0.0.1", "rebound.test")}/dead-letters`)).status(), 421);
    assert.equal(await rebound.locator("tbody").count(), 0);

    // A form of this page with another key, as after a restart of the broker.
    const stale = await open({}, ["403"]);
    await see(stale, "/dead-letters");
    await stale.locator("input[name=key]").first().evaluate((input) => { input.value = "0".repeat(64); });
    await stale.locator("tbody input").first().check();
    await stale.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.match(await stale.getByRole("alert").innerText(), /not one of this page/);
    fine(stale);

    await see(page, "/dead-letters");
    assert.equal(await rows(page).count(), 2, "nothing was done");
    assert.equal(await page.getByText("redriving").count(), 0);
  },

  async keyboard() {
    const page = await open();
    await see(page, "/");
    await page.locator(".live.on").waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.innerText), "Skip to the content");
    assert.ok(await page.evaluate(() => document.activeElement.getBoundingClientRect().top >= 0), "the link to the content can be seen");
    await picture(page, "skip");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "content");

    // Every stop shows where it is, and there is a way through all of them.
    await page.reload();
    await page.locator(".live.on").waitFor();
    await page.getByRole("button", { name: "Pause" }).click();
    await page.evaluate(() => document.activeElement.blur());
    const stops = await page.locator("a[href], button, input:not([type=hidden]), select, [tabindex='0']").evaluateAll((all) => all.filter((each) => each.checkVisibility()).length);
    const seen = new Set();
    for (let count = 0; count < stops + 3; count += 1) {
      await page.keyboard.press("Tab");
      const stop = await page.evaluate(() => {
        const active = document.activeElement;
        if (active === document.body) return null;
        const style = getComputedStyle(active);
        const all = [...document.querySelectorAll("*")];
        return { place: all.indexOf(active), html: active.outerHTML.slice(0, 100), outline: style.outlineStyle, width: parseFloat(style.outlineWidth) };
      });
      if (!stop) continue;
      assert.ok(stop.outline !== "none" && stop.width >= 2, `no ring around ${stop.html}`);
      seen.add(stop.place);
    }
    assert.equal(seen.size, stops, "every link, button and table can be reached");

    // From the overview to a dead letter that is redriven, without a mouse.
    const reach = async (text) => {
      for (let count = 0; count < 80; count += 1) {
        await page.keyboard.press("Tab");
        const at = await page.evaluate(() => document.activeElement.innerText || document.activeElement.getAttribute("aria-label") || "");
        if (at.startsWith(text)) return;
      }
      assert.fail(`${text} cannot be reached`);
    };
    await reach("Dead letters");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/dead-letters");
    await reach("Choose");
    await page.keyboard.press("Space");
    await picture(page, "chosen");
    for (let count = 0; count < 80; count += 1) {
      await page.keyboard.press("Shift+Tab");
      if ((await page.evaluate(() => document.activeElement.innerText)) === "Redrive the chosen") break;
    }
    await page.keyboard.press("Enter");
    await page.getByText("One dead letter is on its way again.").waitFor();
    fine(page);
  },

  async story() {
    const page = await open();
    await see(page, "/story");
    await page.getByLabel("Source").fill("carrier");
    await page.getByRole("button", { name: "Find" }).click();
    assert.match(await page.getByRole("alert").innerText(), /both the source and the id/);
    await page.getByLabel("Source").fill("carrier");
    await page.getByLabel("Id", { exact: true }).fill(given.id);
    await page.getByRole("button", { name: "Find" }).click();
    const nodes = page.locator(".tree .node");
    // The last one tells of the dead letter.
    assert.equal(await nodes.count(), 5);
    assert.equal(await page.locator(".tree .edge").count(), 4);
    assert.match(await page.locator(".tree .node.sought").textContent(), /ShippingDelayed/);
    const lefts = await nodes.evaluateAll((nodes) => nodes.map((node) => node.getBoundingClientRect().left));
    assert.ok(lefts[0] < lefts[1] && lefts[1] === lefts[2] && lefts[2] < lefts[3] && lefts[4] === lefts[1], `causes stand left of what they led to: ${lefts}`);
    assert.match(await page.locator(".tree .node.bad").first().textContent(), /stock: dead letter/);
    await page.locator(".tree a").nth(3).click();
    assert.match(page.url(), /#e\d+$/);
    const told = page.locator("article", { hasText: "support.customer_told" });
    await told.locator("summary").click();
    assert.match(await told.locator("pre").innerText(), /"by": "mail"/);
    await page.locator("article").first().getByRole("link", { name: "look at it" }).click();
    assert.match(await page.locator("h1").innerText(), /Dead letter/);
    fine(page);
    await pictures(`/story?${new URLSearchParams({ correlation_id: given.id })}`, "tree");
  },

  async sign_in() {
    const page = await open({}, ["401", "403"]);
    await page.goto("/dead-letters?subscription=billing");
    assert.match(page.url(), /\/sign-in\?to=/);
    await picture(page, "door");
    const enter = async (token) => {
      await page.getByLabel("Token").fill(token);
      await page.getByRole("button", { name: "Sign in" }).click();
    };
    await enter("waypost_nobody");
    assert.match(await page.getByRole("alert").innerText(), /not one of this broker's/);
    await enter(given.worker);
    assert.match(await page.getByRole("alert").innerText(), /lacks the scope "inspect"/);

    await enter(given.looker);
    assert.match(page.url(), /\/dead-letters\?subscription=billing$/);
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite, cookie.expires], ["waypost_token", true, "Strict", -1]);
    assert.ok(!(await page.content()).includes(given.looker), "the token is not in the page");
    assert.match(await page.locator(".who").innerText(), /Signed in as looker/);
    await rows(page).first().getByRole("checkbox").check();
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.match(await page.getByRole("alert").innerText(), /lacks the scope "admin"/);
    await see(page, "/subscriptions/billing");
    await page.getByRole("button", { name: "Pause deliveries" }).click();
    assert.match(await page.getByRole("alert").innerText(), /lacks the scope "admin"/);
    await see(page, "/");
    await page.locator(".live.on").waitFor();
    await page.getByRole("button", { name: "Sign out" }).click();
    assert.match(page.url(), /\/sign-in$/);
    assert.deepEqual(await page.context().cookies(), []);

    await enter(given.boss);
    await see(page, "/dead-letters");
    await rows(page).first().getByRole("checkbox").check();
    await page.getByRole("button", { name: "Redrive the chosen" }).click();
    assert.equal(await page.getByRole("status").first().innerText(), "One dead letter is on its way again.");
    await picture(page, "signed-in");
    // The cookie is for pages: no call takes it.
    const call = await page.context().request.post(`${PAGE}/waypost.v1.DeadLetterAdminService/ListDeadLetters`, {
      headers: { "content-type": "application/grpc", origin: PAGE },
      data: Buffer.alloc(5),
    });
    assert.equal(call.headers()["grpc-status"], "16");
    // Who has no token sees nothing, and no asset gives anything away.
    const outside = await open({}, ["401"]);
    for (const path of PATHS) {
      await outside.goto(path);
      assert.match(outside.url(), /\/sign-in\?to=/);
      assert.equal(await outside.locator("table, nav").count(), 0);
    }
    assert.equal((await outside.context().request.get(`${PAGE}/live?view=overview`)).status(), 401);
    fine(outside);
    fine(page);
  },
};

let failure = null;
try {
  await cases[name]();
} catch (error) {
  failure = error;
  console.error(error);
  if (latest && !latest.isClosed()) {
    console.error(`at ${latest.url()}; errors: ${JSON.stringify(latest.errors)}`);
    await latest.screenshot({ path: join(PICTURES, `${name}-failed.png`), fullPage: true }).catch(() => {});
  }
}
await browser.close();
process.exit(failure ? 1 : 0);
