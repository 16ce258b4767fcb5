"""Pages in headless Chromium, for the tests that need a browser."""

import html
import json
import re
import shutil
import subprocess

import pytest

_BROWSER = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'chrome'))),
  None,
)

needs_browser = pytest.mark.skipif(
  _BROWSER is None, reason='there is no Chromium (apt-get install chromium)'
)


def evaluate(page, script, folder, width=1280):
  """What a script returns at the end of a page, as JSON."""
  path = folder / 'page.html'
  path.write_text(
    page.replace(
      '</body>',
      '<pre id="result"></pre><script>document.getElementById("result")'
      f'.textContent = JSON.stringify((() => {{{script}}})());</script></body>',
    )
  )
  ended = subprocess.run(
    [
      _BROWSER,
      '--headless',
      # Containers and root have no sandbox.
      '--no-sandbox',
      '--disable-gpu',
      f'--user-data-dir={folder / "profile"}',
      f'--window-size={width},900',
      '--dump-dom',
      path.as_uri(),
    ],
    capture_output=True,
    text=True,
    timeout=100,
    check=True,
  )
  [found] = re.findall('<pre id="result">(.*?)</pre>', ended.stdout, re.DOTALL)
  assert found, ended.stderr
  return json.loads(html.unescape(found))
