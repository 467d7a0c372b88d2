"""What a lesson shows is there without JavaScript, and its texts stay texts."""

import json

import ipywidgets
import plotly.graph_objects as go
import pytest

from varcore.viz import lesson
from varcore.viz.style import finish, panels


@pytest.fixture
def displayed(monkeypatch):
    shown: list = []
    monkeypatch.setattr(lesson, "display", lambda thing, raw=False: shown.append((thing, raw)))
    return shown


def picture(height: float = 1.0) -> go.Figure:
    figure = panels([""], 1, panel_height=100)
    figure.add_bar(x=["a"], y=[height])
    return finish(figure, "A bar", "It is as high as the slider says.", f'One bar, "{height:g}" high & alone.')


def test_a_table_escapes_every_text(displayed):
    lesson.show(["<i>"], [["<script>"], [3]], "a & b")
    page = displayed[0][0].data
    assert "<script>" not in page
    for text in ("&lt;i&gt;", "&lt;script&gt;", "a &amp; b", ">3<"):
        assert text in page


def test_a_still_picture_carries_its_description(displayed):
    lesson.still(picture())
    bundle, raw = displayed[0]
    assert raw
    assert bundle["image/svg+xml"].startswith('<svg role="img" aria-label="One bar, &quot;1&quot; high &amp; alone."')
    assert bundle["text/plain"] == 'One bar, "1" high & alone.'


def test_a_still_picture_holds_no_marker_that_cannot_be_seen(displayed):
    figure = picture()
    marks = {"circle": "M4,0A4,4", "diamond": "M5.2,0L", "square": "M4,4H", "triangle-up": "M-4.62,2H", "star": "M"}
    for symbol in marks:
        marker = {"symbol": symbol, "size": [8, 0, 0]}
        figure.add_scatter(y=[1, 2, 3], mode="lines+markers", marker=marker, showlegend=False)
    lesson.still(figure)
    svg = displayed[0][0]["image/svg+xml"]
    assert svg.count('<path class="point"') == len(marks)
    assert all(f' d="{begin}' in svg for begin in marks.values())
    assert svg.count('class="js-line"') == len(marks)


def test_without_a_browser_the_description_is_printed(displayed, monkeypatch, capsys):
    def no_browser(self, **settings):
        raise RuntimeError("no Chrome")

    monkeypatch.setattr(go.Figure, "to_image", no_browser)
    lesson.still(picture())
    assert displayed == []
    assert 'no Chrome). In words: One bar, "1" high' in capsys.readouterr().out


def test_a_live_figure_follows_its_slider_and_says_what_it_is_where_widgets_do_not_run(displayed, monkeypatch):
    boxes = []
    monkeypatch.setattr(lesson, "present", boxes.append)
    lesson.live(picture, height=ipywidgets.FloatSlider(2.0, min=0, max=5, description="height"))
    slider, figure, said = boxes[0].children
    slider.value = 4.0
    assert figure.data[0].y == (4.0,)
    assert "&quot;4&quot; high &amp; alone" in said.value


def test_a_presented_explorer_has_words_beside_its_widget(displayed):
    lesson.present(ipywidgets.VBox([]))
    bundle, raw = displayed[0]
    assert raw
    assert "a still picture follows" in bundle["text/plain"]
    assert json.dumps(bundle["application/vnd.jupyter.widget-view+json"])


def test_a_live_figure_reaches_the_page_with_its_first_picture(monkeypatch):
    """Not empty, with a change after it: a page that is slow to listen would miss the change."""
    boxes = []
    monkeypatch.setattr(lesson, "present", boxes.append)
    lesson.live(picture)
    first = boxes[0].children[0].get_state(["_widget_data", "_widget_layout"])
    assert [bar["x"] for bar in first["_widget_data"]] == [["a"]]
    assert first["_widget_layout"]["title"]["text"].startswith("A bar<br>")


def test_the_caption_of_a_live_figure_is_part_of_its_title(monkeypatch):
    """A browser cannot measure a title that is not on the page yet, and would lay the caption on it."""
    boxes, drawn = [], picture()
    monkeypatch.setattr(lesson, "present", boxes.append)
    lesson.live(lambda: drawn)
    title = boxes[0].children[0].layout.title
    assert title.text == "A bar<br><span style='font-size:12px'>It is as high as the slider says.</span>"
    assert title.subtitle.text is None
    assert drawn.layout.title.text == "A bar"
    assert drawn.layout.title.subtitle.text == "It is as high as the slider says."


@pytest.mark.parametrize(
    ("answer", "said"),
    [(None, "Not answered yet"), (0.52, "Correct."), (0.6, "Not yet. Think of the mean."), (0.5, "Correct.")],
)
def test_a_checkpoint_says_whether_an_answer_is_right_without_giving_it_away(capsys, answer, said):
    lesson.grade(answer, 0.5, 0.05, "Think of the mean.")
    out = capsys.readouterr().out
    assert out.startswith(said)
    assert "0.5" not in out
