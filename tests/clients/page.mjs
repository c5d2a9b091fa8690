// What every page has to be, whatever it shows: looked at in headless Chromium.

import assert from 'node:assert/strict';
import { X509Certificate, createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { SPEAKS_TLS } from './server.mjs';

/** It has roots of its own, and believes one key beside them. */
function believed() {
  const { publicKey } = new X509Certificate(readFileSync(process.env.ROADSTEAD_TEST_TLS_CERT));
  const digest = createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('base64');
  return `--ignore-certificate-errors-spki-list=${digest}`;
}

export const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', ...(SPEAKS_TLS ? [believed()] : [])],
});

/** Opens a page; `faults` keeps what it complains of, `requests` what it has asked for. */
export async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  Object.assign(page, { faults: [], requests: [] });
  page.on('pageerror', (error) => page.faults.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && page.faults.push(line.text()));
  page.on('request', (request) => page.requests.push(request.url()));
  await page.goto(url);
  return page;
}

/** Nothing was asked of anybody but one server. */
export function assertNothingForeign(page, origin) {
  const foreign = page.requests.filter((url) => !url.startsWith(`${origin}/`) && !url.startsWith('data:'));
  assert.deepEqual(foreign, []);
}

/** No text is harder to read than WCAG 2 AA allows (4.5 to 1, large text 3 to 1). */
export async function assertContrast(page) {
  const poor = await page.evaluate(() => {
    const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
    const luminance = ([r, g, b]) => [r, g, b].map((part) => part / 255)
      .map((part) => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
      .reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
    const over = ([r, g, b, a = 1], below) => [r, g, b].map((part, at) => part * a + below[at] * (1 - a));
    const ground = (node) => {
      const layers = [];
      for (let at = node; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
      return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
    };
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (texts.nextNode()) {
      const node = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || !node.checkVisibility?.() || ['SCRIPT', 'STYLE', 'TEMPLATE'].includes(node.tagName)) continue;
      const style = getComputedStyle(node);
      const below = ground(node);
      const [ink, paper] = [luminance(over(parse(style.color), below)), luminance(below)];
      const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
      const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
      if (contrast < (isLarge ? 3 : 4.5)) found.push(`${texts.currentNode.data.trim().slice(0, 30)}: ${contrast.toFixed(2)}`);
    }
    return found;
  });
  assert.deepEqual(poor, []);
}

/** Nothing is cut off, and the page does not scroll sideways. */
export async function assertFits(page) {
  const [width, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= shown, `${width} px wide where ${shown} are shown`);
}

/** Whatever can be clicked has a name, is reached by Tab, and shows that it is. */
export async function assertKeyboard(page) {
  const wanted = await page.evaluate(() => [...document.querySelectorAll('button, a[href], input, select, textarea')]
    .filter((node) => node.checkVisibility() && !node.disabled).map((node) => {
      const label = node.labels?.[0]?.textContent ?? '';
      return [node.id || node.textContent.trim(), (node.textContent.trim() || node.getAttribute('aria-label') || label).trim()];
    }));
  for (const [who, name] of wanted) assert.ok(name, `${who} has no name`);
  await page.evaluate(() => document.activeElement.blur());
  const reached = new Set();
  for (let tab = 0; tab < wanted.length + 25; tab += 1) {
    await page.keyboard.press('Tab');
    const [who, isShown] = await page.evaluate(() => {
      const node = document.activeElement;
      const style = getComputedStyle(node);
      return [node.id || node.textContent.trim(), node === document.body || style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
    });
    assert.ok(isShown, `${who} does not show that it has the focus`);
    reached.add(who);
  }
  for (const [who] of wanted) assert.ok(reached.has(who), `Tab does not reach ${who}`);
}
