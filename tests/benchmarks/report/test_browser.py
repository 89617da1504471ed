"""The report in a real browser: it renders, can be used by hand and by keyboard, read on a phone, and printed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from edgetf.benchmarks.judging.choose import choose
from edgetf.benchmarks.judging.choose_words import answer
from edgetf.benchmarks.report.render import render, write_report
from edgetf.results import read_benchmark
from edgetf.schemes import DEFAULT_SCHEMES
from tests.benchmarks.made_bench import variant, with_results
from tests.benchmarks.report_bench import EVIL, rich

pytestmark = pytest.mark.slow
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--hide-scrollbars"]
_DROP = "accuracy change, points"
_MORE = 5  # variants in addition to the schemes and a slow one
MANY = len(DEFAULT_SCHEMES) + 1 + _MORE
_PHONE, _PAPER = 375, 703  # CSS pixels; A4 less margins of 12 mm

# every visible piece of text, its contrast with the background, and the contrast that WCAG 2.1 (1.4.3) requires
CONTRASTS = """() => {
  const parse = (text) => {
    const [r, g, b, a] = text.match(/[\\d.]+/g).map(Number);
    return {r, g, b, a: a === undefined ? 1 : a};
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a),
    b: top.b * top.a + under.b * (1 - top.a), a: 1});
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  const luminance = ({r, g, b}) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), {r: 255, g: 255, b: 255, a: 1});
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest("script, style, defs, option")) continue;
    if (!element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const svg = element.namespaceURI.endsWith("svg");
    const back = behind(element);
    const front = over(parse(svg ? style.fill : style.color), back);
    const [light, dark] = [luminance(front), luminance(back)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const matrix = svg ? element.getScreenCTM() : {a: 1, b: 0};
    const scale = Math.hypot(matrix.a, matrix.b);
    found.push({text: node.textContent.trim().slice(0, 60), svg, size: size * scale,
                ratio: (light + 0.05) / (dark + 0.05), least: large ? 3 : 4.5});
  }
  return found;
}"""


@dataclass
class Seen:
    """A page, with its console messages, exceptions and requests."""

    page: Any
    messages: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def report(benchmarked: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    write_report(rich(benchmarked, reference, folder / "bench"), folder / "report.html", force=False)
    return folder / "report.html"


@pytest.fixture(scope="module")
def many(report: Path) -> Path:
    """The report on MANY variants, one of which passes and is 70 times slower than float32."""
    document = read_benchmark(report.parent / "bench")
    first = document.results[0]
    base = first.latency_ms
    assert base is not None
    steady = variant(document, first.variant, base.median)  # the few blocks that were measured may lie far apart
    first = replace(first, blocks=steady.blocks, latency_ms=steady.latency_ms)
    slow = variant(document, "snail", 70 * base.median, measurement=None)
    others = [variant(document, f"an-experiment-{k}", base.median, 1000 + k, measurement=None) for k in range(_MORE)]
    page = render(with_results(document, first, *document.results[1:], slow, *others), report.parent / "bench")
    (report.parent / "many.html").write_text(page)
    return report.parent / "many.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's package chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield found
        found.close()


@pytest.fixture
def seen(browser: Any, report: Path) -> Iterator[Seen]:
    yield from _see(browser, report)


@pytest.fixture
def seen_many(browser: Any, many: Path) -> Iterator[Seen]:
    yield from _see(browser, many)


def _see(browser: Any, report: Path) -> Iterator[Seen]:
    page = browser.new_page(viewport={"width": 1300, "height": 900})
    found = Seen(page)
    page.on("console", lambda message: found.messages.append(message.text))
    page.on("pageerror", lambda error: found.messages.append(str(error)))
    page.on("request", lambda request: found.asked.append(request.url))
    page.goto(report.as_uri())
    yield found
    page.close()


def rows(page: Any) -> list[str]:
    """The variants that the table shows, in order."""
    return [text.strip() for text in page.locator("#results tbody:visible th").all_inner_texts()]


def test_it_shows_everything_without_console_messages_or_requests(seen: Seen, report: Path) -> None:
    headings = " ".join(seen.page.locator("h2").all_inner_texts())
    for part in ("Results", "Pareto", "over time", "without a pause", "ladder of int8", "Decisions", "worst samples"):
        assert part in headings, part
    assert seen.page.locator("tr.broke").count() == 1
    loaded = "images => images.map(image => image.complete && image.naturalWidth)"
    widths = seen.page.locator(".sample img").evaluate_all(loaded)
    assert len(widths) > 6
    assert set(widths) == {8}
    assert seen.page.title() == "edgetf report"  # the script in the names did not run
    assert EVIL in rows(seen.page)
    assert seen.messages == []
    outside = [url for url in seen.asked if not url.startswith("data:")]
    assert outside == [report.as_uri()]


def test_a_picture_of_it_has_colours(seen: Seen) -> None:
    from matplotlib import image

    pixels = image.imread(io.BytesIO(seen.page.screenshot(full_page=True)))[..., :3]
    coloured = pixels.max(axis=2) - pixels.min(axis=2) > 0.3
    assert coloured.sum() > 5000  # the marks of the verdicts and the pictures are drawn


def test_ten_variants_and_more_are_filtered_by_text_and_verdict(seen_many: Seen, seen: Seen) -> None:
    assert seen.page.locator("#filter").count() == 0  # for the schemes alone
    page = seen_many.page
    assert len(rows(page)) == MANY
    page.get_by_label("Variants with the text").fill("INT8")
    assert rows(page) == [name for name in DEFAULT_SCHEMES if "int8" in name]
    page.get_by_label("and the verdict").select_option("FAIL")
    assert rows(page) == ["int8"]
    assert page.locator("output").inner_text() == f"1 of {MANY} variants"
    page.get_by_label("Variants with the text").fill("no such variant")
    assert rows(page) == []
    page.get_by_label("Variants with the text").fill("")
    page.get_by_label("and the verdict").select_option("")
    assert len(rows(page)) == MANY
    assert seen_many.messages == []


def test_the_table_is_sorted_by_click_and_by_keyboard_and_shows_the_order(seen: Seen) -> None:
    page = seen.page
    heading = page.locator("#results thead th", has_text="size")
    heading.get_by_role("button").click()
    sizes = page.locator("#results tbody td:nth-child(5)").evaluate_all("all => all.map(e => Number(e.dataset.v))")
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 3
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "descending"
    assert rows(page)[0] == EVIL  # float32, the largest
    verdict = page.locator("#results thead th", has_text="verdict")
    verdict.get_by_role("button").focus()
    page.keyboard.press("Space")
    assert rows(page)[0] == "int8"  # fails
    assert heading.get_attribute("aria-sort") == "none"
    assert verdict.get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize("size", [(1300, 900), (_PHONE, 740)])
def test_the_first_screen_answers_which_variant_to_ship(seen: Seen, report: Path, size: tuple[int, int]) -> None:
    seen.page.set_viewport_size({"width": size[0], "height": size[1]})
    (choice,) = choose(read_benchmark(report.parent / "bench"))
    assert seen.page.locator(".summary").inner_text() == answer(choice)
    asked = seen.page.locator(".context")
    assert "at most 1 point of accuracy lost" in asked.inner_text()
    box = asked.bounding_box()
    assert box["y"] + box["height"] <= size[1]


def test_a_slow_pass_has_a_remark(seen_many: Seen) -> None:
    cell = seen_many.page.locator("#results tbody tr", has_text="snail").locator(".verdict")
    assert cell.locator(".mark").inner_text() == "PASS"
    assert "times slower than" in cell.locator(".remark").inner_text()


def test_no_section_and_no_column_is_empty(seen: Seen, seen_many: Seen) -> None:
    left = "all => all.filter(e => e.innerText.replace(e.querySelector('h2')?.innerText ?? '', '').trim() === '')"
    for page in (seen.page, seen_many.page):
        assert page.locator("section").evaluate_all(left) == []
        columns = page.locator("#results thead th").count()
        for k in range(1, columns + 1):
            assert any(page.locator(f"#results tbody tr > :nth-child({k})").all_inner_texts())


@pytest.mark.parametrize("media", ["screen", "print"])
def test_every_text_has_the_contrast_that_wcag_aa_asks_for(seen: Seen, media: str) -> None:
    seen.page.emulate_media(media=media)
    found = seen.page.evaluate(CONTRASTS)
    assert sum(one["svg"] for one in found) > 30
    assert sum(not one["svg"] for one in found) > 200
    assert [one for one in found if one["ratio"] < one["least"]] == []
    seen.page.evaluate("document.querySelector('.note').style.color = '#999'")
    assert [one["text"][:11] for one in seen.page.evaluate(CONTRASTS) if one["ratio"] < one["least"]] == ["Small print"]


def test_on_a_phone_variant_verdict_median_and_drop_are_seen_without_a_scroll(seen: Seen, seen_many: Seen) -> None:
    for page in (seen.page, seen_many.page):
        page.set_viewport_size({"width": _PHONE, "height": 740})
        headings = page.locator("#results thead th").all_inner_texts()[:4]
        assert [heading.strip(" \u2195") for heading in headings] == ["variant", "verdict", "median", _DROP]
        box = page.locator("#results").locator("xpath=..").bounding_box()
        ends = "all => all.map(e => e.getBoundingClientRect().right)"
        first = page.locator("#results tr > :nth-child(-n + 4)").evaluate_all(ends)
        assert max(first) <= box["x"] + box["width"]


def test_on_a_phone_the_page_does_not_scroll_sideways_and_pictures_can_be_read(seen: Seen) -> None:
    seen.page.set_viewport_size({"width": _PHONE, "height": 740})
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= _PHONE
    sizes = [one["size"] for one in seen.page.evaluate(CONTRASTS)]
    assert min(sizes) >= 9  # CSS pixels


def test_in_print_everything_is_shown_and_nothing_is_cut(seen_many: Seen) -> None:
    page = seen_many.page
    page.get_by_label("Variants with the text").fill("int8")
    page.set_viewport_size({"width": _PAPER, "height": 1000})
    page.emulate_media(media="print")
    assert len(rows(page)) == MANY  # including those that were filtered out
    assert not page.locator("#filter").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= _PAPER
    cut = "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).length"
    assert page.locator(".scroll").evaluate_all(cut) == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_without_scripts_everything_is_shown_except_the_controls(browser: Any, many: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(many.as_uri())
    assert len(rows(page)) == MANY
    assert not page.locator("#filter").is_visible()
    assert page.locator("#results button").count() == 0
    context.close()
