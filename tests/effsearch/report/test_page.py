"""The page in a browser: it points, filters, sorts and compares, and is never too wide."""

from __future__ import annotations

import json
import shutil

import pytest

from effsearch.cli import main

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None,
        reason="chromium or chromedriver is not installed (Debian: chromium, chromium-driver)",
    ),
]
SHOWN = "!mark.closest('[hidden]')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    asked = ("--space", "tiny", "--budget-ms", 0.6, "--device", "iphone12", "--trials", 300)
    with pytest.raises(SystemExit) as caught:
        main([*map(str, ("run", *asked, "--winners", 2, "--workers", 1, "--out", folder))])
    assert caught.value.code == 0
    return folder


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    held = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield held
    held.quit()


@pytest.fixture(params=[(1300, "light"), (400, "dark")], ids=["wide", "narrow"])
def page(browser, folder, request):
    width, scheme = request.param
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get((folder / "report.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []


def test_it_is_light_fits_the_window_and_needs_no_network(page, folder):
    assert (folder / "report.html").stat().st_size < 2_000_000
    root = "document.documentElement"
    assert page.execute_script(f"return {root}.scrollWidth <= {root}.clientWidth")
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    dark = page.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert (paper == "rgb(255, 255, 255)") is not dark


def test_no_two_kinds_of_marks_look_alike_but_for_their_colour(page):
    keys = page.execute_script("return all('.legend input').map(box => box.value)")
    shapes = [page.execute_script(f"return one('#{key}').outerHTML.replace(/id=\\S+/, '')")
              for key in keys]  # fmt: skip
    assert len(keys) > 4
    assert len(set(shapes)) == len(shapes)


def test_pointing_at_a_mark_says_its_numbers(page, folder):
    assert page.execute_script("return tip.hidden")
    page.execute_script(
        """
        const mark = marks[marks.length - 1];
        mark.scrollIntoView({block: "center"});
        const box = mark.getBoundingClientRect();
        const [clientX, clientY] = [box.left + box.width / 2, box.top + box.height / 2];
        document.elementFromPoint(clientX, clientY).dispatchEvent(
          new PointerEvent("pointermove", {clientX, clientY, bubbles: true}));
        """
    )
    winner = json.loads((folder / "summary.json").read_text())["winners"]
    text = page.execute_script("return tip.hidden ? '' : tip.innerText")
    assert text.startswith("winner ")
    assert f"{winner[int(text.split()[1]) - 1]['mean_ms']:.3f} ± " in text
    left, right = page.execute_script(
        "const box = tip.getBoundingClientRect(); return [box.left, box.right]"
    )
    assert left >= 0
    assert right <= page.execute_script("return document.documentElement.clientWidth")


def test_a_filter_hides_marks_and_rows(page):
    everything = page.execute_script(f"return marks.filter(mark => {SHOWN}).length")
    block = page.execute_script(
        "form.elements.blocks.selectedIndex = 1; form.dispatchEvent(new Event('input'));"
        "return form.elements.blocks.value"
    )
    has = f"blocks.includes('{block}')"
    kept = page.execute_script(f"return marks.map((mark, i) => [{SHOWN}, points[i].{has}])")
    assert 0 < sum(shown for shown, _ in kept) < everything
    assert all(shown == wanted for shown, wanted in kept)
    rows = page.execute_script(
        f"return all('.of-front').map(r => [!r.hidden, JSON.parse(r.dataset.choices).{has}])"
    )
    assert all(shown == wanted for shown, wanted in rows)
    said = page.execute_script("return one('output', form).value")
    assert said == f"{sum(shown for shown, _ in rows)} of {len(rows)} networks of the front"
    page.execute_script("form.reset()")
    page.execute_script("filter()")
    assert page.execute_script(f"return marks.filter(mark => {SHOWN}).length") == everything
    page.execute_script("one('.legend input[value=within]').click()")
    assert page.execute_script(f"return marks.filter(mark => {SHOWN}).length") < everything


def test_a_title_sorts_the_table_both_ways(page):
    script = """
        const table = one("tr.network").closest("table");
        const title = all("th", table).find(th => th.textContent.startsWith("parameters"));
        one("button", title).click();
        return [title.getAttribute("aria-sort"),
                all("tr.network").map(row => Number(row.cells[title.cellIndex].dataset.value))];
        """
    for direction in ("ascending", "descending"):
        said, values = page.execute_script(script)
        assert said == direction
        assert len(values) > 15
        assert values == sorted(values, reverse=direction == "descending")


def test_two_networks_stand_side_by_side(page):
    page.execute_script("all('.compare').slice(0, 3).forEach(box => box.click())")
    assert page.execute_script("return all('.compare:checked').length") == 2
    names = page.execute_script("return all('tr.network').slice(1, 3).map(r => r.dataset.name)")
    assert page.execute_script("return one('#compared h3').textContent") == " and ".join(names)
    assert page.execute_script("return all('#compared svg').length") == 2
    page.execute_script("one('.compare:checked').click()")
    assert page.execute_script("return compared.hidden")
