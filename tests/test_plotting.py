import numpy as np
import pytest
from PIL import Image

from keras_ssgan import plotting
from keras_ssgan.errors import InputError
from keras_ssgan.plotting import confusion
from keras_ssgan.plotting import learning_curves
from keras_ssgan.plotting import reliability
from keras_ssgan.plotting import text

pytestmark = pytest.mark.any_backend

BLUE = (0, 114, 178)
VERMILION = (213, 94, 0)
GREEN = (0, 158, 115)
OKABE_ITO = [BLUE, VERMILION, GREEN, (204, 121, 167), (230, 159, 0)]
OKABE_ITO += [(86, 180, 233), (0, 0, 0), (153, 153, 153)]
WHITE = (255, 255, 255)

# The legend, too, has lines of the curves' colours: it lies below the first
# 410 rows of a picture without a title.
PLOT_ROWS = 410


def mask(picture, colour):
    """Where the plots of a picture of `curves` have exactly this colour."""
    return (np.asarray(picture)[:PLOT_ROWS] == colour).all(axis=-1)


def heights(picture, colour):
    """The mean row of a colour, per column that has it."""
    where = mask(picture, colour)
    rows = np.arange(PLOT_ROWS)[:, np.newaxis]
    columns = where.any(axis=0)
    return (where * rows).sum(axis=0)[columns] / where.sum(axis=0)[columns]


def relative_luminance(colour):
    """The definition in the Web Content Accessibility Guidelines, 2.2."""
    c = np.asarray(colour) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(a, b):
    high, low = sorted(map(relative_luminance, (a, b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


class TestImageGrid:
    @pytest.mark.parametrize("shape", [(7, 4, 6), (7, 4, 6, 1), (7, 4, 6, 3)])
    def test_every_pixel_of_every_cell_is_its_source_pixel(self, rng, shape):
        images = rng.integers(0, 256, shape, dtype="uint8")
        picture = plotting.image_grid(images, columns=3, scale=5, padding=2)

        assert picture.mode == ("RGB" if shape[3:] == (3,) else "L")
        assert picture.size == (2 + 3 * (30 + 2), 2 + 3 * (20 + 2))
        for i in range(7):
            row, column = divmod(i, 3)
            for y in range(20):
                for x in range(30):
                    pixel = picture.getpixel(
                        (2 + column * 32 + x, 2 + row * 22 + y)
                    )
                    source = images[i, y // 5, x // 5]
                    assert np.array_equal(np.ravel(pixel), np.ravel(source))

    def test_separators_and_spare_cells_have_one_grey(self):
        images = np.zeros((3, 4, 4), "uint8")
        picture = np.array(plotting.image_grid(images, 2, scale=1, padding=1))
        for y, x in [(1, 1), (1, 6), (6, 1)]:
            assert not picture[y : y + 4, x : x + 4].any()
            picture[y : y + 4, x : x + 4] = picture[0, 0]
        assert picture[0, 0] > 0
        assert (picture == picture[0, 0]).all()

    @pytest.mark.parametrize(
        "side, cell", [(8, 64), (28, 84), (32, 64), (63, 126), (64, 64)]
    )
    def test_default_scale_is_the_smallest_that_reaches_64_pixels(
        self, side, cell
    ):
        images = np.zeros((1, side, side), "uint8")
        assert plotting.image_grid(images, padding=0).size == (cell, cell)

    def test_large_images_are_not_shrunk(self):
        images = np.zeros((1, 100, 200), "uint8")
        assert plotting.image_grid(images, padding=0).size == (200, 100)

    def test_fewer_images_than_columns_leave_no_empty_cell(self):
        images = np.zeros((2, 8, 8), "uint8")
        picture = plotting.image_grid(images, columns=5, scale=1, padding=0)
        assert picture.size == (16, 8)

    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((4, 8, 8), "float32"),
            np.zeros((8, 8), "uint8"),
            np.zeros((4, 8, 8, 2), "uint8"),
            np.zeros((0, 8, 8), "uint8"),
        ],
    )
    def test_wrong_images_are_refused(self, images):
        with pytest.raises(InputError, match="image_grid needs"):
            plotting.image_grid(images)

    @pytest.mark.parametrize(
        "setting", [{"columns": 0}, {"scale": 0}, {"padding": -1}]
    )
    def test_wrong_settings_are_refused(self, setting):
        with pytest.raises(InputError, match="columns >= 1"):
            plotting.image_grid(np.zeros((1, 8, 8), "uint8"), **setting)


class TestClassGrid:
    def rows(self, rng, lengths):
        return [
            rng.integers(0, 256, (n, 32, 32, 1), dtype="uint8") for n in lengths
        ]

    def test_every_image_is_in_the_row_of_its_class(self, rng):
        rows = self.rows(rng, [3, 0, 2])
        names = ["cat", "dog", "owl"]
        picture = np.asarray(plotting.class_grid(rows, names, columns=3))
        # On white; the grid begins where the grey lines do.
        lines = (picture == 160).all(axis=-1)
        top, left = np.argwhere(lines)[0]
        for row, images in enumerate(rows):
            for column in range(3):
                y, x = top + 2 + row * 66, left + 2 + column * 66
                cell = picture[y : y + 64, x : x + 64]
                expected = np.full((64, 64), 160)
                if column < len(images):
                    image = images[column, :, :, 0]
                    expected = image.repeat(2, axis=0).repeat(2, axis=1)
                np.testing.assert_array_equal(
                    cell, np.broadcast_to(expected[..., None], (64, 64, 3))
                )

    def test_columns_that_no_row_fills_take_no_memory(self, rng):
        rows = self.rows(rng, [3, 0])
        wide = plotting.class_grid(rows, ["cat", "dog"], columns=10**12)
        assert wide == plotting.class_grid(rows, ["cat", "dog"], columns=3)

    def test_names_stand_beside_their_rows_and_empty_ones_are_pale(
        self, rng, texts
    ):
        rows = self.rows(rng, [1, 0])
        names = ["cat", "a name that is far too long to be read"]
        picture = np.asarray(plotting.class_grid(rows, names, columns=1))
        assert texts[0] == "cat"
        assert texts[1].startswith("a name") and texts[1].endswith("…")
        lines = (picture == 160).all(axis=-1)
        top, left = np.argwhere(lines)[0]
        assert (picture[:, -9:] == 255).all() and (picture[:9] == 255).all()
        assert (picture[:, :9] == 255).all() and (picture[-9:] == 255).all()
        first = picture[top : top + 66, :left].min()
        second = picture[top + 66 :, :left].min()
        assert first < second < 150


class TestCaptioned:
    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_the_picture_is_below_and_black_on_white_above(self, mode, texts):
        below = Image.new(mode, (200, 50), "grey")
        picture = plotting.captioned(below, "Epoch 7")
        assert (picture.mode, picture.width) == (mode, 200)
        height = picture.height - 50
        assert picture.crop((0, height, 200, picture.height)) == below
        assert np.asarray(picture)[:height].min() == 0
        assert texts == ["Epoch 7"]


class TestCurves:
    def test_constant_curve_is_horizontal_and_spans_the_plot(self):
        # More epochs than get markers: these would widen the line.
        picture = plotting.curves({"loss": [0.7] * 30})
        rows, columns = np.nonzero(mask(picture, BLUE))
        assert np.ptp(rows) <= 2
        assert np.ptp(columns) > 0.8 * picture.width
        assert len(np.unique(columns)) == np.ptp(columns) + 1

    def test_heights_are_proportional_to_values(self):
        history = {"a_loss": [0.0] * 30, "b_loss": [1.0] * 30}
        history["c_loss"] = [0.25] * 30
        picture = plotting.curves(history)
        zero, one, quarter = (
            heights(picture, colour).mean()
            for colour in (BLUE, VERMILION, GREEN)
        )
        assert zero - one > 200
        np.testing.assert_allclose(
            quarter, zero + 0.25 * (one - zero), rtol=0, atol=0.5
        )

    def test_rising_accuracy_is_a_straight_line_from_corner_to_corner(self):
        picture = plotting.curves({"accuracy": np.linspace(0, 1, 50)})
        line = heights(picture, BLUE)
        # A straight line from the bottom to the top of 320 rows.
        straight = np.linspace(line[0], line[-1], len(line))
        np.testing.assert_allclose(line, straight, rtol=0, atol=1.5)
        np.testing.assert_allclose(line[0] - line[-1], 320, rtol=0, atol=4)

    def test_epochs_are_evenly_spaced(self):
        # Lone epochs are dots even where there are too many for markers.
        values = [0.5 if i % 10 == 5 else np.nan for i in range(60)]
        columns = mask(plotting.curves({"loss": values}), BLUE).any(axis=0)
        edges = np.flatnonzero(np.diff(columns.astype(int)))
        dots = edges.reshape(-1, 2).mean(axis=1)
        assert len(dots) == 6
        np.testing.assert_allclose(
            dots, np.linspace(dots[0], dots[-1], 6), rtol=0, atol=1
        )

    def test_different_data_give_different_curves(self):
        falling = plotting.curves({"loss": [3.0, 2.0, 1.0]})
        rising = plotting.curves({"loss": [1.0, 2.0, 3.0]})
        assert falling.size == rising.size
        assert (np.diff(heights(falling, BLUE)) >= 0).mean() > 0.9
        assert (np.diff(heights(rising, BLUE)) <= 0).mean() > 0.9

    def test_losses_are_left_and_accuracies_right(self):
        history = {"d_loss": [2.0, 1.0], "g_loss": [1.0, 1.5]}
        history |= {"accuracy": [0.5, 0.9], "learning_rate": [1e-3, 1e-3]}
        picture = plotting.curves(history)
        middle = picture.width // 2
        blue, vermilion = mask(picture, BLUE), mask(picture, VERMILION)
        assert blue[:, :middle].any() and blue[:, middle:].any()
        # Two losses, but one accuracy and nothing else.
        assert vermilion[:, :middle].any() and not vermilion[:, middle:].any()
        assert not mask(picture, GREEN).any()

    @pytest.mark.parametrize("name", ["val_loss", "val_accuracy"])
    def test_a_missing_kind_leaves_no_empty_panel(self, name):
        one = plotting.curves({name: [0.1, 0.2]})
        both = plotting.curves({"loss": [0.1, 0.2], "accuracy": [0.1, 0.2]})
        assert one.width < 0.6 * both.width
        assert mask(one, BLUE)[:, one.width // 2 :].any()

    @pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
    def test_values_that_are_not_finite_leave_a_gap(self, gap):
        values = np.full(41, 0.5)
        whole = mask(plotting.curves({"loss": values}), BLUE).any(axis=0)
        values[10:31] = gap
        holed = mask(plotting.curves({"loss": values}), BLUE).any(axis=0)
        # The line lacks epochs 10 to 32, of 40 steps in all.
        missing = whole.sum() - holed.sum()
        np.testing.assert_allclose(missing / whole.sum(), 22 / 40, atol=0.01)
        assert not holed[whole.argmax() + whole.sum() // 2]

    def test_history_of_nan_alone_draws_axes_without_a_line(self):
        picture = plotting.curves({"loss": [np.nan] * 3})
        assert not mask(picture, BLUE).any()
        assert np.unique(np.asarray(picture)[:PLOT_ROWS]).size > 2

    def test_single_epoch_is_a_dot_in_the_middle(self):
        where = mask(plotting.curves({"loss": [0.3]}), BLUE)
        rows, columns = np.nonzero(where)
        assert 5 <= np.ptp(rows) <= 9 and 5 <= np.ptp(columns) <= 9
        middle = np.mean(columns) / where.shape[1]
        np.testing.assert_allclose(middle, 0.5, atol=0.05)

    def test_lines_are_anti_aliased(self):
        picture = plotting.curves({"loss": np.linspace(0, 1, 30)})
        pixels = np.asarray(picture)[:PLOT_ROWS].reshape(-1, 3).astype(int)
        # Blends of white and blue, by the share of blue in the red channel.
        share = (255 - pixels[:, 0]) / 255
        blend = np.round(255 + share[:, np.newaxis] * (np.array(BLUE) - 255))
        between = (np.abs(pixels - blend) <= 1).all(axis=1)
        between &= (share > 0.1) & (share < 0.9)
        assert len(np.unique(pixels[between], axis=0)) > 5

    def test_two_hundred_epochs_of_every_usual_name_are_drawn(self, rng):
        names = ["d_loss", "d_loss_supervised", "d_loss_real", "d_loss_fake"]
        names += ["g_loss", "g_loss_adversarial", "g_loss_feature_matching"]
        names += ["val_loss", "accuracy", "val_accuracy"]
        values = rng.uniform(size=(10, 200))
        # Stacked, so that no curve hides another.
        history = dict(zip(names, (values.T + np.arange(10)).T, strict=True))
        picture = plotting.curves(history, "digits, 200 labels")
        for colour in OKABE_ITO:
            assert mask(picture, colour)[:, : picture.width // 2].sum() > 500

    def test_more_series_than_colours_are_dashed(self):
        history = {f"loss_{i}": [float(i)] * 30 for i in range(9)}
        where = mask(plotting.curves(history), BLUE)
        rows = np.flatnonzero(where.sum(axis=1) > 50)
        solid, dashed = where[rows.max()], where[rows.min()]
        assert np.abs(np.diff(solid.astype(int))).sum() == 2
        assert np.abs(np.diff(dashed.astype(int))).sum() > 40

    def test_axes_and_legend_name_what_is_drawn(self, texts):
        history = {"d_loss": [0.0, 2.5], "val_accuracy": [0.5, 1.0]}
        plotting.curves(history, "MNIST")
        expected = ["MNIST", "d_loss", "val_accuracy"]
        expected += ["Loss", "0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]
        expected += ["Accuracy", *(f"{i}%" for i in range(50, 101, 10))]
        expected += 2 * ["1", "2", "Epoch"]
        assert sorted(texts) == sorted(expected)

    def test_title_adds_text_above_and_moves_the_plot_down(self):
        history = {"loss": [1.0, 0.5]}
        without = np.asarray(plotting.curves(history))
        titled = np.asarray(plotting.curves(history, "MNIST"))
        moved = len(titled) - len(without)
        np.testing.assert_array_equal(titled[moved + 16 :], without[16:])
        assert (titled[:moved] < 128).any()

    @pytest.mark.parametrize("length", [1, 40, 400])
    def test_text_of_any_length_stays_inside(self, length):
        name = "loss" + "x" * length
        picture = plotting.curves({name: [1e-7, 123456.0]}, "y" * length)
        pixels = np.asarray(picture)
        for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
            assert (edge == 255).all()

    @pytest.mark.parametrize(
        "history", [{}, {"learning_rate": [0.1]}, {"loss": []}]
    )
    def test_history_with_nothing_to_draw_is_refused(self, history):
        with pytest.raises(InputError, match="curves needs an entry"):
            plotting.curves(history)


class TestTicks:
    @pytest.mark.parametrize(
        "values, expected",
        [
            ([0.1, 2.9], ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5", "3.0"]),
            ([0.3, 0.9], "0.3 0.4 0.5 0.6 0.7 0.8 0.9".split()),
            ([-3, 9], "-4 -2 0 2 4 6 8 10".split()),
            ([0.0, 0.0], "0.0 0.1 0.2 0.3 0.4 0.5".split()),
            ([0, 5e6], "0 1e+06 2e+06 3e+06 4e+06 5e+06".split()),
        ],
    )
    def test_value_labels_are_round_numbers(self, values, expected):
        ticks = learning_curves._value_ticks(np.array(values), (0, np.inf))
        assert learning_curves._tick_labels(ticks) == expected

    def test_few_labels_that_all_differ_enclose_any_values(self, rng):
        for _ in range(500):
            size = 10 ** rng.uniform(-6, 6)
            values = rng.normal(rng.choice([0, 1, 1e4]), size, 3)
            ticks = learning_curves._value_ticks(values, (0, np.inf))
            slack = 1e-5 * (ticks[1] - ticks[0])
            assert ticks[0] - slack <= values.min()
            assert values.max() <= ticks[-1] + slack
            labels = learning_curves._tick_labels(ticks)
            assert 3 <= len(set(labels)) == len(labels) <= 9

    @pytest.mark.parametrize("percent", [0.0, 100.0])
    def test_constant_accuracy_stays_between_0_and_100_percent(self, percent):
        ticks = learning_curves._value_ticks(np.full(3, percent), (0, 100))
        assert percent in ticks
        assert ticks.min() >= 0 and ticks.max() <= 100

    @pytest.mark.parametrize(
        "epochs, expected",
        [
            (1, [1]),
            (7, [1, 2, 3, 4, 5, 6, 7]),
            (25, [5, 10, 15, 20, 25]),
            (200, list(range(20, 201, 20))),
        ],
    )
    def test_epoch_ticks_are_whole_numbers(self, epochs, expected):
        np.testing.assert_array_equal(
            learning_curves._epoch_ticks(epochs), expected
        )


class TestCaptionedGrid:
    @pytest.mark.parametrize("shape", [(28, 28), (28, 28, 1), (28, 28, 3)])
    def test_images_are_there_in_full_enlarged_by_a_whole_number(
        self, rng, shape
    ):
        images = rng.integers(0, 255, (3, *shape), dtype="uint8")
        picture = plotting.captioned_grid(images, [["a"]] * 3, columns=2)
        pixels = np.asarray(picture).reshape(-1, 3 * picture.width)
        for image in images:
            image = np.broadcast_to(image.reshape(28, 28, -1), (28, 28, 3))
            enlarged = image.repeat(4, axis=0).repeat(4, axis=1)
            # Found by its first row, then compared as a whole.
            found = [
                (top, offset // 3)
                for top, row in enumerate(pixels)
                if (offset := row.tobytes().find(enlarged[0].tobytes())) >= 0
            ]
            top, left = found[0]
            cell = np.asarray(picture)[top : top + 112, left : left + 112]
            np.testing.assert_array_equal(cell, enlarged)

    def test_every_line_of_every_caption_is_written(self, texts):
        captions = [["is 1", "said 7"], ["is 2", "said 3"]]
        plotting.captioned_grid(np.zeros((2, 8, 8), "uint8"), captions)
        assert texts == ["is 1", "said 7", "is 2", "said 3"]

    @pytest.mark.parametrize("size", [8, 28, 300])
    def test_captions_of_any_length_stay_inside(self, size):
        images = np.full((5, size, size), 255, "uint8")
        picture = plotting.captioned_grid(images, [["x" * 200] * 3] * 5, 2)
        pixels = np.asarray(picture)
        for edge in (pixels[:9], pixels[-9:], pixels[:, :9], pixels[:, -9:]):
            assert (edge == 255).all()

    @pytest.mark.parametrize("images, captions", [(0, 0), (2, 1)])
    def test_another_number_of_captions_is_refused(self, images, captions):
        images = np.zeros((images, 8, 8), "uint8")
        with pytest.raises(InputError, match="one caption per image"):
            plotting.captioned_grid(images, [["a"]] * captions)


class TestReliabilityDiagram:
    def entry(self, images, correct, confidence, interval=(0.0, 1.0)):
        return {
            "images": images,
            "correct": correct,
            "confidence": confidence,
            "interval": interval,
        }

    def extent(self, picture, colour):
        """First and last row, above the legend, and columns of a colour."""
        where = (np.asarray(picture)[:400] == colour).all(axis=-1)
        return where.any(axis=1).nonzero()[0][[0, -1]], where.any(axis=0)

    def test_bars_are_as_high_as_the_share_that_is_correct(self):
        heights = []
        for correct in (25, 50, 100):
            bins = [self.entry(100, correct, 0.9)]
            picture = plotting.reliability_diagram(bins)
            (top, bottom), _ = self.extent(picture, reliability._BAR)
            heights.append(bottom - top)
        np.testing.assert_allclose(
            np.array(heights) / 320, [0.25, 0.5, 1], atol=0.02
        )

    def test_the_mark_ends_the_bar_of_a_calibrated_bin(self):
        bins = [self.entry(100, 60, 0.6, (0.5, 0.7))]
        picture = plotting.reliability_diagram(bins)
        (bar, _), _ = self.extent(picture, reliability._BAR)
        (top, bottom), _ = self.extent(picture, VERMILION)
        assert top - 1 <= bar <= bottom + 1

    def test_the_interval_is_drawn_from_end_to_end(self):
        bins = [self.entry(10, 5, 0.5, (0.25, 0.75))]
        (top, bottom), _ = self.extent(plotting.reliability_diagram(bins), BLUE)
        np.testing.assert_allclose((bottom - top) / 320, 0.5, atol=0.02)

    def test_an_empty_bin_has_no_bar_and_a_count_of_0(self, texts):
        empty = {"images": 0, "correct": 0, "confidence": None}
        picture = plotting.reliability_diagram([empty, self.entry(7, 7, 1.0)])
        _, columns = self.extent(picture, reliability._BAR)
        assert columns.sum() < reliability._BIN_WIDTH
        assert "0" in texts and "7" in texts

    def test_counts_of_any_size_stay_within_their_bin(self):
        font = text.find_font(reliability._SMALL_SIZE)
        for count in (0, 99_999, 100_000, 99_999_999):
            label = reliability._short_count(count)
            assert font.getlength(label) <= reliability._BIN_WIDTH

    def test_a_long_title_is_cut_off(self):
        bins = [self.entry(1, 1, 1.0)] * 15
        pixels = np.asarray(plotting.reliability_diagram(bins, "x" * 400))
        for edge in (pixels[:9], pixels[-9:], pixels[:, :9], pixels[:, -4:]):
            assert (edge == 255).all()

    def test_no_bins_are_refused(self):
        with pytest.raises(InputError, match="at least one bin"):
            plotting.reliability_diagram([])


class TestConfusionMatrix:
    def cells(self, matrix, names=None):
        """The colours of the cells, read at their upper left corners."""
        matrix = np.asarray(matrix)
        names = names or [str(i) for i in range(len(matrix))]
        picture = np.asarray(plotting.confusion_matrix(matrix, names))
        drawn = (picture != WHITE).any(axis=-1)
        # Cells are the only things that fill whole rows and columns.
        rows = drawn.mean(axis=1) > 0.5
        top = np.flatnonzero(rows & ~np.roll(rows, 1))
        columns = drawn[top[0] : np.flatnonzero(rows)[-1]].mean(axis=0) > 0.8
        left = np.flatnonzero(columns & ~np.roll(columns, 1))
        assert len(top) == len(left) == len(matrix)
        return picture[top[:, np.newaxis] + 2, left + 2]

    def test_colour_depends_on_the_share_of_the_row_alone(self):
        cells = self.cells([[3, 1, 0], [300, 100, 0], [1, 1, 2]])
        np.testing.assert_array_equal(cells[0], cells[1])
        # A count of 1 is a quarter of its row in the first and third row.
        np.testing.assert_array_equal(cells[0, 1], cells[2, 0])

    def test_rows_are_true_and_columns_predicted_classes(self):
        cells = self.cells([[0, 9], [0, 9]])
        np.testing.assert_array_equal(cells[0], cells[1])
        assert cells[0, 0].sum() > cells[0, 1].sum()

    def test_larger_shares_are_darker(self):
        row = [0, 1, 10, 100, 1000]
        cells = self.cells([row] * 5)
        darkness = [-relative_luminance(colour) for colour in cells[0]]
        assert (np.diff(darkness) > 0.01).all()

    def test_row_without_images_has_the_colour_of_zero(self):
        cells = self.cells([[0, 0], [0, 5]])
        np.testing.assert_array_equal(cells[0, 0], cells[1, 0])
        np.testing.assert_array_equal(cells[0, 1], cells[1, 0])

    def test_every_count_is_readable_on_its_cell(self):
        colours = np.asarray(confusion._heat(np.linspace(0, 1, 101)[None]))
        for colour in colours[0]:
            assert contrast(confusion._readable_on(colour), colour) >= 4.5

    def test_matrix_without_images_has_no_accuracy(self, texts):
        plotting.confusion_matrix(np.zeros((2, 2), int), ["a", "b"])
        assert "No images" in texts

    def test_counts_names_and_axis_titles_are_written(self, texts):
        plotting.confusion_matrix([[900, 100], [25, 975]], ["cat", "dog"])
        expected = ["Accuracy 93.75% (1,875 of 2,000)", "true", "predicted"]
        expected += ["900", "100", "25", "975"] + 2 * ["cat", "dog"]
        assert sorted(texts) == sorted(expected)

    @pytest.mark.parametrize("classes", range(2, 21))
    @pytest.mark.parametrize("length", [1, 15, 50])
    def test_names_of_any_length_stay_inside(self, rng, classes, length):
        matrix = rng.integers(0, 2000, (classes, classes))
        names = [chr(97 + i) * length for i in range(classes)]
        picture = plotting.confusion_matrix(matrix, names)
        pixels = np.asarray(picture)
        for edge in (pixels[:9], pixels[-9:], pixels[:, :9], pixels[:, -9:]):
            assert (edge == 255).all()
        assert max(picture.size) < 1300

    def test_long_names_end_in_an_ellipsis(self):
        font = text.find_font(15)
        short = text.shorten("a name that is too long", font, 100)
        assert short.endswith("…") and len(short) > 8
        assert "a name that is too long".startswith(short[:-1])
        assert font.getlength(short) <= 100
        assert text.shorten("a name", font, 100) == "a name"

    def test_many_classes_make_small_cells_without_counts(self, texts):
        matrix = 7777 * np.eye(1000, dtype=int)
        matrix[700, 200] = 3 * 7777
        names = [str(i) for i in range(1000)]
        picture = plotting.confusion_matrix(matrix, names)
        assert max(picture.size) < 4600
        assert "7777" not in texts
        # As many in a row and in a column as do not touch.
        written = [label for label in texts if label in names]
        assert 2 * 200 <= len(written) <= 2 * 4400 / 15

        pixels = np.asarray(picture)
        drawn = (pixels != WHITE).any(axis=-1)
        top, left = (
            np.flatnonzero(drawn.mean(axis=axis) > 0.9)[0] for axis in (1, 0)
        )
        middles = ((np.arange(1000) + 0.5) * 4.4).astype(int)
        cells = pixels[top + middles][:, left + middles].astype(int)
        large = self.cells([[7777, 3 * 7777], [0, 7777]]).astype(int)
        for place, colour in {
            (700, 700): large[0, 0],
            (700, 200): large[0, 1],
            (701, 200): large[1, 0],
            (999, 999): large[1, 1],
            (0, 999): large[1, 0],
        }.items():
            assert np.abs(cells[place] - colour).max() <= 1

    @pytest.mark.parametrize("classes", [100, 101, 150, 300])
    def test_the_room_for_many_classes_is_bounded(self, classes, texts):
        matrix = 777 * np.eye(classes, dtype=int)
        picture = plotting.confusion_matrix(matrix, ["cat"] * classes)
        assert max(picture.size) < 4700
        assert ("777" in texts) == (classes <= 100)

    @pytest.mark.parametrize(
        "matrix",
        [
            np.ones((2, 3), int),
            np.ones((2, 2)),
            np.array([[1, -1], [0, 1]]),
            np.ones((0, 0), int),
        ],
    )
    def test_matrix_that_is_no_square_of_counts_is_refused(self, matrix):
        with pytest.raises(InputError, match="whole numbers"):
            plotting.confusion_matrix(matrix, ["a", "b"])

    def test_wrong_number_of_names_is_refused(self):
        with pytest.raises(InputError, match="3 names for 2 classes"):
            plotting.confusion_matrix([[1, 0], [0, 1]], ["a", "b", "c"])


class TestNamesBeyondAscii:
    def draw(self, *names):
        matrix = np.eye(len(names), dtype=int)
        return plotting.confusion_matrix(matrix, names)

    @pytest.fixture
    def no_fonts(self, monkeypatch):
        """As on a machine without fonts."""
        monkeypatch.setattr(text, "_system_fonts", lambda size: [])

    def test_they_come_in_a_font_of_the_system(self, texts):
        if not text._system_fonts(15):
            pytest.skip("the machine has none of the fonts")
        self.draw("año", "Größe é", "ok")
        assert {"año", "Größe é", "ok"} <= set(texts)
        font = text.find_font(15, ["año", "Größe é", "ok"])
        masks = {bytes(font.getmask(letter)) for letter in "ñößé\uffff"}
        assert len(masks) == 5

    def test_where_there_is_no_font_accents_are_left_out(self, no_fonts, texts):
        self.draw("año", "e\u0301te\u0301", "Größe")
        assert {"ano", "ete", r"Gro\xdfe"} <= set(texts)

    def test_names_that_no_font_has_can_be_told_apart(self, no_fonts):
        assert self.draw("猫", "ok") != self.draw("狗", "ok")

    def test_no_font_is_looked_for_without_need(self, monkeypatch):
        monkeypatch.delattr(text, "_system_fonts")
        assert text.find_font(15, ["cat", "~|{"]) is text.find_font(15)

    def test_long_names_stay_inside(self):
        names = [letter * 50 for letter in "éжW"]
        empty = np.zeros((0, 8, 8, 1), "uint8")
        for picture in (
            self.draw(*names),
            plotting.class_grid([empty] * 3, names, columns=5),
            plotting.captioned_grid(
                np.zeros((3, 8, 8), "uint8"), [[name] for name in names]
            ),
        ):
            pixels = np.asarray(picture)
            for edge in (
                pixels[:5],
                pixels[-5:],
                pixels[:, :5],
                pixels[:, -5:],
            ):
                assert (edge == 255).all()

    def test_each_picture_with_text_draws_them(self, texts):
        name = "é"
        drawn = text._spell(name, text.find_font(15, [name]))
        plotting.class_grid([np.zeros((1, 8, 8, 1), "uint8")], [name], 5)
        plotting.captioned(Image.new("L", (300, 300)), name)
        plotting.captioned_grid(np.zeros((1, 8, 8), "uint8"), [[name]])
        plotting.curves({"loss": [1.0]}, name)
        plotting.reliability_diagram(
            [{"images": 0, "correct": 0, "confidence": None}], name
        )
        assert texts.count(drawn) == 5
