"""The pages of the examples as people see them: opened in Chromium. (The chat: `websockets/test_clients.py`.)"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from installations import Node, started

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

UPLOAD = """
    const page = await context.newPage();
    await page.goto(process.argv[2]);
    const network = await context.newCDPSession(page);
    const slow = {offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 4 << 20};
    await network.send("Network.emulateNetworkConditions", slow);
    await page.evaluate(() => {
      window.seen = [];
      new MutationObserver(() => seen.push(sent.value)).observe(sent, {attributes: true});
    });
    await page.getByLabel("File").setInputFiles(process.argv[3]);
    await page.getByRole("button", {name: "Send"}).click();
    await page.getByText("SHA-256").waitFor();
    console.log(JSON.stringify([await page.getByRole("status").innerText(), await page.evaluate(() => seen)]));
"""

EVENTS = """
    const tabs = [];
    for (let number = 0; number < 3; ++number) {
      tabs.push(await context.newPage());
      await tabs[number].goto(process.argv[2]);
      await tabs[number].getByText("connected", {exact: true}).waitFor();
    }
    const open = (tab, number) => tab.getByText("open tabs: " + number).waitFor();
    for (const tab of tabs) await open(tab, 3);
    await tabs[0].close();
    for (const tab of tabs.slice(1)) await open(tab, 2);
    const time = tabs[1].getByRole("timer"), before = await time.innerText();
    await tabs[1].waitForFunction((before) => document.getElementById("time").textContent != before, before);
    console.log(before);
"""


def test_upload(tmp_path: Path, node: Node) -> None:
    content = os.urandom(2 << 20)
    (tmp_path / "file").write_bytes(content)
    with started(EXAMPLES, "upload:app") as port:
        said, seen = json.loads(node.browse(UPLOAD, f"http://127.0.0.1:{port}/", str(tmp_path / "file")))
    assert said == f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    assert seen == sorted(seen) and seen[-1] == 1 and any(0 < value < 1 for value in seen), "the bar moves"


def test_events(node: Node) -> None:
    with started(EXAMPLES, "events:app") as port:
        said = node.browse(EVENTS, f"http://127.0.0.1:{port}/")
    assert len(said.split(":")) == 3
