// A headless Chromium: the system's, or the one that CHROMIUM names.

import puppeteer from "puppeteer-core";

export const launch = () => puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  // Its own sandbox refuses root.
  args: process.getuid() === 0 ? ["--no-sandbox"] : [],
});
