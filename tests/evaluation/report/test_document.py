"""The report: what it says, that it is well made, and what a browser sees in it."""

import base64
import html.parser
import io
import os
import re
import resource

import numpy as np
import pytest
from PIL import Image

from diffusion_tf.evaluation.report.document import Picture, write_report
from diffusion_tf.evaluation.report.html import Markup, element, facts, figure, join, number, page
from diffusion_tf.evaluation.report.paper import compare_with_paper
from diffusion_tf.utils import images
from helpers.browser import CHROMIUM, Browser
from helpers.evaluation_metrics import cifar10_metrics

VOID = {"meta", "img"}
LINKS = {"src", "href", "srcset", "action", "data", "poster", "background", "cite", "style"}


class Document(html.parser.HTMLParser):
    """What is in a page: its elements, pictures, headings and rows; each must be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], []
        self.headings, self.rows, self.captions = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert len(attributes) == len(dict(attributes)), "an attribute is given twice"
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text.append(data)
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)
        if "caption" in self.open:
            self.captions.append(data)
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data.strip()

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def read(path):
    return Document(path.read_text(encoding="utf-8"))


def make_pictures(folder):
    path = folder / "samples.png"
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    images.save_png(str(path), images.show_grid(pixels))
    names = ("Samples", "Nearest neighbours", "Trajectory", "Interpolations")
    sources = (path, str(path), path.read_bytes(), path)
    return [Picture(n, f"The {n.lower()}.", png) for n, png in zip(names, sources, strict=True)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Path of a report with everything in it; tests leave it alone."""
    folder = tmp_path_factory.mktemp("whole")
    write_report(folder / "report.html", cifar10_metrics(), make_pictures(folder))
    return folder / "report.html"


@pytest.fixture(scope="module")
def document(whole):
    return read(whole)


@pytest.fixture
def metrics():
    """Without what takes time to plot."""
    metrics = cifar10_metrics(12)
    del metrics["rate_distortion"]
    for split in metrics["bpd"].values():
        del split["terms"], split["mse"]
    return metrics


@pytest.fixture
def written(tmp_path, metrics):
    def write(pictures=()):
        write_report(tmp_path / "out" / "report.html", metrics, pictures)
        return read(tmp_path / "out" / "report.html")

    return write


def test_contents_in_their_order(document):
    assert document.headings == [
        "Evaluation of runs/cifar10", "Numbers beside the paper's", "Samples",
        "Nearest neighbours", "Trajectory", "Interpolations", "Bits per dimension",
        "Rate and distortion", "How it was measured",
    ]  # fmt: skip


def test_the_page_is_self_contained_and_every_picture_decodes(document, whole):
    sizes = []
    for tag, attributes in document.elements:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form")
        assert not any(name.startswith("on") for name in attributes)
        for name in LINKS & attributes.keys():
            assert (tag, name) == ("img", "src")
    for attributes in document.all("img"):
        assert attributes["alt"]
        head, data = attributes["src"].split(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            picture.load()
            assert (str(picture.width), str(picture.height)) == (
                attributes["width"],
                attributes["height"],
            )
            sizes.append(picture.size)
    assert len(sizes) == 4 + 3
    text = whole.read_text(encoding="utf-8")
    assert not re.search(r"https?:|url\(|@import|//[a-z]", re.sub('base64,[^"]*', "", text))
    (policy,) = (a["content"] for a in document.all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_each_number_stands_beside_the_papers_with_its_sentence(written, metrics):
    metrics["is"]["num_samples"] = 1000
    rows = written().rows
    lower, higher = "lower is better", "higher is better"
    for expected in (
        [f"FID{lower}", "train", "3.30", "3.17table 1, L_simple", "yes"],
        [f"FID{lower}", "test", "5.50", "5.24section 4.1", "yes"],
        [f"Inception score{higher}", "", "9.41", "9.46table 1, L_simple, ± 0.11", "no"],
        [f"distortion, bits/dim{lower}", "test", "2.00", "1.97section 4.3", "yes"],
        [f"distortion, bits/dim{lower}", "train", "2.00", "none", ""],
    ):
        assert expected in rows
    sentences = [row[0] for row in rows if len(row) == 1]
    expected = [row["sentence"] for row in compare_with_paper(metrics)]
    assert sentences == [s for i, s in enumerate(expected) if i == 0 or s != expected[i - 1]]
    following = rows[rows.index([f"FID{lower}", "test", "5.50", "5.24section 4.1", "yes"]) + 1]
    assert following == ["A fair comparison."]


def test_a_comparison_that_is_there_is_taken(written, metrics):
    metrics["comparison"] = compare_with_paper(metrics)[:1]
    metrics["comparison"][0]["sentence"] = "As it was said then."
    rows = written().rows
    assert ["As it was said then."] in rows
    assert not any(row[0].startswith("Inception scorehigher") for row in rows)


def test_real_images_against_others_stand_beside_a_distance(written, metrics):
    metrics["fid"]["train"] |= {"real": 0.31249, "real_images": 25_000}
    document = written()
    header, *rows = document.rows
    assert header == ["", "split", "measured", "real against real", "paper", "fair?"]
    assert rows[0][3] == "0.31225,000 against as many"
    assert ["FIDlower is better", "test", "5.50", "", "5.24section 4.1", "yes"] in rows
    assert any("every second image of the split and the others" in c for c in document.captions)


def test_that_the_paper_has_no_number_is_said_once(written, metrics):
    metrics["data"]["name"] = "my data. And more"
    metrics["fid"]["train"]["num_samples"] = 64
    document = written()
    missing = "The paper has no number for my data. And more."
    assert "".join(document.text).count(missing) == 1 and "Numbers" in document.headings
    assert document.rows[0] == ["", "split", "measured"]  # nothing to compare with
    assert ["FIDlower is better", "train", "3.30"] in document.rows
    sentences = [row[0] for row in document.rows if len(row) == 1]
    assert any(s.startswith("To mind in any comparison: 64 samples") for s in sentences)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.3, "3.30"), (0.54271, "0.543"), (99.96, "100"), (207.22, "207"), (12345.6, "12,346"),
        (6.1163e-10, "6.12e-10"), (0.00013, "0.000130"), (0, "0.00"), (-2.345, "-2.35"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(("width", "class_"), [(400, "pixels"), (900, "scroll pixels")])
def test_pixels_stay_sharp(width, class_):
    png = io.BytesIO()
    Image.new("L", (width, 8)).save(png, "PNG")
    text = figure(png.getvalue(), alt="a", caption="b", pixels=True)
    assert f'class="{class_}"' in text
    assert ".pixels img { image-rendering: pixelated; }" in page("title", [])


def test_distances_of_other_features_are_not_called_fid(written, metrics):
    metrics["features"]["name"] = "pixels"
    names = [row[0] for row in written().rows]
    assert "Fréchet distance of pixelslower is better" in names
    assert not any(name.startswith("FID") for name in names)


def test_the_parts_of_the_bound(document):
    bpd = cifar10_metrics()["bpd"]["test"]
    middle = sum(bpd["terms"][1:])
    expected = ["test", f"{number(bpd['total'])} ± 0.0042", "0.0100", number(middle), "2.00"]
    assert [*expected, "10,000"] in document.rows


def test_rate_and_distortion_beside_table_4(document):
    rows = document.rows
    curve = cifar10_metrics()["rate_distortion"]["test"]
    own = [number(curve["rate"][899]), number(curve["distortion"][899])]
    assert ["900", *own, "0.120", "12.0"] in rows
    assert sum(row[0].replace(",", "").isdecimal() for row in rows) == 10


def test_other_data_have_no_table_4_and_few_timesteps_a_row_each(tmp_path):
    path = tmp_path / "r.html"
    write_report(path, {**cifar10_metrics(12), "data": {"name": "digits", "splits": {}}})
    rows = read(path).rows
    assert [row[0] for row in rows if row[0].isdecimal()] == [str(i) for i in range(1, 13)]
    assert not any("paper, test" in cell for row in rows for cell in row)


def test_the_circumstances(document):
    for expected in (
        ["weights", "averaged weights (EMA)"], ["step", "800,000"], ["number N", "50,000"],
        ["sampler", "ancestral"], ["seed", "3"], ["seed, test", "7"],
        ["SHA-256 of the graph", "0123456789abcdef" * 4], ["rounded to 8 bits", "no"],
        ["preprocessing", "TF1 bilinear to 299, (x - 128) / 128"], ["tensorflow", "2.21.0"],
        ["device", "8 x GPU, an accelerator"], ["TF32 instead of float32", "no"],
        ["samples", "1:02:05"],
        ["test", "10,000", "10,000", f"{10_000:064x}"[:16]], ["Inception score of all", "9.51"],
    ):  # fmt: skip
        assert expected in document.rows
    text = "".join(document.text)
    assert "ema_decay = 0.9999" in text and "ch_mult = [1, 2, 2, 2]" in text


def test_what_was_not_measured_is_left_out(tmp_path):
    metrics = cifar10_metrics()
    required = {key: metrics[key] for key in ("versions", "device", "created")}
    required["source"] = {
        "kind": "images", "path": "folder", "step": None, "weights": None, "config": None,
    }  # fmt: skip
    path = tmp_path / "r.html"
    write_report(path, {**required, "data": {"name": "digits", "splits": {}}})
    document = read(path)
    assert document.headings == ["Evaluation of folder", "How it was measured"]
    assert [c for c in document.captions if c.strip()] == [
        "What was evaluated",
        "Software and device",
    ]
    assert not document.all("img")
    assert "None" not in "".join(document.text)


@pytest.mark.slow
def test_every_part_can_be_missing_alone(tmp_path):
    def check(metrics, name):
        write_report(tmp_path / "r.html", metrics)
        text = "".join(read(tmp_path / "r.html").text)
        assert "None" not in text and "nan" not in text, name

    metrics = cifar10_metrics(12)
    for name in ("samples", "features", "fid", "is", "bpd", "rate_distortion", "seconds"):
        check({key: value for key, value in metrics.items() if key != name}, name)
    del metrics["rate_distortion"]
    for name in ("terms", "mse", "standard_error", "num_images", "seed", "clip_denoised"):
        for split in metrics["bpd"].values():
            del split[name]
        check(metrics, name)


def test_text_of_users_stays_text(tmp_path):
    metrics, pictures = cifar10_metrics(12), make_pictures(tmp_path)
    evil = "<script>alert(\"1\")</script> & 'x' ${title}"
    metrics["source"]["path"] = metrics["samples"]["path"] = evil
    metrics["source"]["config"]["warm_start"] = evil
    metrics["data"]["splits"][evil] = {"num_images": 1, "of": 1, "fingerprint": evil}
    metrics["versions"][evil] = evil
    metrics["device"]["name"] = evil
    metrics["fid"][evil] = {"value": 1.0, "num_samples": 1, "num_images": 1, "warning": evil}
    metrics["bpd"][evil] = metrics["bpd"]["test"]
    metrics["rate_distortion"][evil] = metrics["rate_distortion"]["test"]
    metrics["seconds"][evil] = 1
    pictures.append(Picture(evil, evil, pictures[2].png))
    write_report(tmp_path / "r.html", metrics, pictures)
    document = read(tmp_path / "r.html")
    assert not document.all("script")
    assert document.headings.count(f"Evaluation of {evil}") == 1 and evil in document.headings
    assert document.all("img")[4]["alt"] == evil
    assert "".join(document.text).count(evil) >= 12


def test_a_report_may_load_and_run_nothing():
    text = page("title", ["<script>alert(1)</script>"])
    before, policy = text.split("Content-Security-Policy", 1)
    assert "default-src 'none'" in policy.split(">", 1)[0]
    assert "script-src" not in policy.split(">", 1)[0]
    assert "<title" not in before and "<style" not in before  # it holds for all that follows


def test_elements():
    assert element("p", "a < b", Markup("<b>c</b>"), class_="x", title='"') == (
        '<p title="&quot;" class="x">a &lt; b<b>c</b></p>\n'
    )
    assert (element("br"), element("div")) == ("<br>", "<div></div>\n")
    assert join(["&", Markup("&amp;")]) == "&amp;&amp;"
    assert facts("nothing", [("a", None)]) == ""
    assert '<tr><th scope="row">zero</th>\n<td>0</td>' in facts("", [("none", None), ("zero", 0)])
    assert "<title>&lt;i&gt;</title>" in page("<i>", [])


def test_a_picture_that_is_none_is_named(tmp_path, metrics):
    report = tmp_path / "r.html"
    with pytest.raises(FileNotFoundError, match="no picture .*absent.png"):
        write_report(report, metrics, [Picture("a", "b", tmp_path / "absent.png")])
    jpeg = io.BytesIO()
    Image.new("L", (8, 8)).save(jpeg, "JPEG")
    for data in (jpeg.getvalue(), b"", b"<svg/>"):
        with pytest.raises(ValueError, match="picture 'Samples' is not a PNG"):
            figure(data, alt="Samples", caption="")
    png = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(png, "PNG")
    with pytest.raises(ValueError, match="picture 'Samples' is not a PNG"):
        figure(png.getvalue()[:2000], alt="Samples", caption="")
    assert not report.exists()


def test_an_error_leaves_the_report_that_was_there(written, tmp_path):
    written()
    path = tmp_path / "out" / "report.html"
    before = path.read_bytes()
    with pytest.raises(ValueError):
        written([Picture("a", "b", b"no picture")])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as if the disk were full
    try:
        with pytest.raises(OSError):
            written()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_path_that_is_no_unicode(written, metrics):
    metrics["source"]["path"] = os.fsdecode(b"runs/caf\xe9")
    assert written().headings[0] == "Evaluation of runs/caf\\udce9"


needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
NATURAL_WIDTHS = "Array.from(document.images, i => i.complete ? i.naturalWidth : 0)"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


def visit(browser, path, **window):
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(path.as_uri(), **window)


@pytest.mark.extras
@needs_chromium
@pytest.mark.parametrize("width", [1200, 390])
def test_in_chromium(browser, whole, width):
    visit(browser, whole, width=width)
    assert browser.complaints == []
    assert [url for url in browser.requests if not url.startswith("data:")] == [whole.as_uri()]
    widths = browser.evaluate(NATURAL_WIDTHS)
    assert len(widths) == 7 and min(widths) >= 100
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate("document.title") == "Evaluation of runs/cifar10"


@pytest.mark.extras
@needs_chromium
def test_light_and_dark_in_chromium(browser, whole):
    seen = {}
    for dark in (False, True):
        visit(browser, whole, dark=dark)
        style = "getComputedStyle(document.body)"
        colours = [browser.evaluate(f"{style}.{name}") for name in ("color", "backgroundColor")]
        seen[dark] = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours]
    assert seen[False][0] < 150 < 700 < seen[False][1]
    assert seen[True][1] < 150 < 600 < seen[True][0]


HARM = {
    "http://127.0.0.1:9/a.png": '<img src="http://127.0.0.1:9/a.png">',
    "file": '<img src="b.png">',
    "script": "<script>console.log('ran')</script>",
}


@pytest.mark.extras
@needs_chromium
@pytest.mark.parametrize("what", HARM)
def test_what_should_not_be_there_is_heard_of_and_stopped(browser, whole, tmp_path, what):
    text = whole.read_text(encoding="utf-8").replace("</body>", HARM[what] + "</body>")
    broken = tmp_path / "broken.html"
    Image.new("L", (8, 8)).save(broken.with_name("b.png"))
    broken.write_text(text, encoding="utf-8")
    visit(browser, broken)
    assert "Content Security Policy" in str(browser.complaints)

    # The policy removed: the browser would have told.
    broken.write_text(re.sub(r"<meta http-equiv[^>]*>", "", text), encoding="utf-8")
    visit(browser, broken)
    asked = [url for url in browser.requests if not url.startswith("data:")]
    if what == "script":
        assert "ran" in str(browser.complaints)
    else:
        assert asked == [
            broken.as_uri(),
            what if "http" in what else broken.as_uri()[:-11] + "b.png",
        ]
