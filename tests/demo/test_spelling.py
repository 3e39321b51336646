"""From frames to text: what is held counts once, whatever the camera misses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signing import probabilities, still, wandering, written

from demo import movements, spelling
from demo.spelling import Event, Frame, apply, read

HELD = 1.4  # seconds; with slow frames the third comes late
LETTERS = "ABCEFHKLMNORSTUVWY"


def signs(text, rate, hand=False, held=HELD, rest=0.7):
    """Frames of a text, with an empty picture between equal letters."""
    frames, time, before = [], 0.0, ""
    for sign in text:
        if sign == before:
            frames += still("nothing", time, rest, rate)
            time += rest
        frames += still(sign, time, held, rate, hand=hand)
        time, before = time + held, sign
    return frames


@settings(max_examples=40, deadline=None)
@given(
    text=st.text(LETTERS, min_size=1, max_size=6),
    rate=st.floats(5, 30),
    seed=st.integers(0, 1000),
    lost=st.floats(0, 0.25),
)
def test_every_held_letter_counts_once(text, rate, seed, lost):
    rng = np.random.default_rng(seed)
    frames = signs(text, rate)
    kept, gone = [], 0
    for frame in frames:  # never two in a row
        gone = gone + 1 if rng.random() < lost and not gone else 0
        if not gone:
            kept.append(frame)

    assert read(kept) == text


@settings(max_examples=40, deadline=None)
@given(
    seconds=st.floats(1, 20),
    rate=st.floats(5, 30),
    seed=st.integers(0, 1000),
    lost=st.floats(0, 0.9),
)
def test_what_is_held_on_is_never_doubled(seconds, rate, seed, lost):
    rng = np.random.default_rng(seed)
    frames = [
        f for f in still("A", 0, seconds, rate, hand=False) if rng.random() > lost
    ]

    assert read(frames) in ("", "A")


def test_one_wrong_frame_releases_nothing():
    for rate in (8, 15, 30):
        frames = still("A", 0, 4, rate, hand=False)
        for i in range(3, len(frames), 7):
            frames[i] = Frame(frames[i].time, probabilities("B"), None)
        assert read(frames) == "A"


def test_a_sign_that_is_lost_for_a_moment_is_held_anew_before_it_counts_again():
    frames = still("A", 0, 4, 8, hand=False)
    for i in range(8, 12):
        frames[i] = Frame(frames[i].time, probabilities("B"), None)
    first, second = spelling.spell(frames)
    assert first.sign == second.sign == "A"
    assert second.time - frames[12].time >= 0.7


@pytest.mark.parametrize("rate", [8, 15, 30])
@pytest.mark.parametrize("long", [1.5, 2.5, 4])
def test_how_long_a_sign_was_held_before_does_not_count_for_the_next(rate, long):
    """As the two letters L of HELLO, with a hand between them that shows nothing."""
    frames = still("L", 0, long, rate, hand=False)
    frames += still("nothing", long, 0.35, rate, hand=False)
    again = frames[-1].time + 1 / rate
    frames += still("L", again, 1.5, rate, hand=False)
    events = [(e.sign, e.time) for e in spelling.spell(frames) if e.time >= again]
    assert [sign for sign, _ in events] == ["L"]
    assert events[0][1] - again >= 0.6


def test_a_sign_is_held_through_jumps_of_the_hand():
    frames = still("A", 0, 4, 8)
    for i, frame in enumerate(frames):  # another place each half second
        moved = frame.landmarks + [i // 4 % 2 * 0.5, 0, 0]
        frames[i] = frame._replace(landmarks=moved)
    assert read(frames) == "A"


def test_letters_that_pass_by_or_are_unsure_do_not_count():
    passing = [still(x, i * 0.3, 0.3, 20, hand=False) for i, x in enumerate("HELO")]
    assert read(sum(passing, [])) == ""
    rivals = {"A": 0.5, "S": 0.35, "T": 0.15}
    assert read([Frame(i / 10, rivals) for i in range(50)]) == ""
    assert read(still("A", 0, 5, sure=0.2, hand=False)) == ""


def test_a_letter_that_is_likely_and_far_before_the_others_counts_when_held_longer():
    unsure = still("A", 0, 5, sure=0.4, hand=False)
    assert read(unsure) == "A"
    (event,) = spelling.spell(unsure)
    (surely,) = spelling.spell(still("A", 0, 5, sure=0.9, hand=False))
    assert event.time > surely.time + 0.3


def test_space_and_del_and_nothing_do_what_they_say():
    frames = signs(["A", "space", "B", "C", "del", "nothing", "del"], 10)
    assert read(frames) == "A "


def test_the_end_of_an_empty_text_is_not_passed():
    assert apply("", Event(0, "del", "", 1)) == ""
    assert apply("AI", Event(0, "J", "J", 1)) == "AJ"


def test_a_long_gap_holds_nothing():
    first, last = still("A", 0, 0.3, 10, hand=False), still("A", 9, 0.2, 10, hand=False)
    assert read(first + last) == ""


def test_frames_of_the_past_change_nothing():
    state = spelling.State()
    state, _ = spelling.step(state, still("A", 5, 0.1, hand=False)[0])
    again, event = spelling.step(state, still("B", 4, 0.1, hand=False)[0])
    assert (again, event) == (state, None)


@pytest.mark.parametrize("letter", "JZ")
@pytest.mark.parametrize("rate", [8, 15, 30])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
def test_a_movement_is_read_through_jitter(letter, rate, left):
    rng = np.random.default_rng(rate)
    for seconds in (0.9, 1.3):
        frames = written(letter, 0, seconds, rate, rng, mirror=left, jitter=0.03)
        assert read(rested(frames, rate)) == letter, seconds


def test_a_movement_is_read_at_five_frames_a_second():
    for letter in "JZ":
        frames = written(letter, 0, 1.4, 5, np.random.default_rng(1))
        assert read(rested(frames, 5)) == letter


def test_lost_frames_lose_no_movement():
    for letter in "JZ":
        rng = np.random.default_rng(4)
        frames = rested(written(letter, 0, 1.2, 20, rng, jitter=0.02), 20)
        assert read([f for i, f in enumerate(frames) if i % 5 != 3]) == letter


def rested(frames, rate):
    """With the hand at rest before and after, too short to be held."""
    first, last = frames[0], frames[-1]
    before = [first._replace(time=first.time - i / rate) for i in range(2, 0, -1)]
    after = [last._replace(time=last.time + i / rate) for i in range(1, int(rate / 2))]
    return before + frames + after


def test_the_i_that_a_j_began_with_becomes_the_j():
    begins = written("J", 2, 1.0, 15)
    first = begins[0]
    held = [Frame(i / 15, probabilities("I"), first.landmarks) for i in range(30)]
    events = list(spelling.spell(held + begins))
    assert [(e.text, e.removes) for e in events] == [("I", 0), ("J", 1)]
    assert read(held + begins) == "J"


@pytest.mark.parametrize("letter, before", [("J", "I"), ("Z", "D")])
@pytest.mark.parametrize("rate", [6, 15])
def test_the_hand_that_was_formed_first_is_no_letter_before_a_still_j_or_z(
    letter, before, rate
):
    formed = still(before, 0, 1.5, rate)
    turned = still(letter, 1.5, 3, rate)
    events = list(spelling.spell(formed + turned))
    assert [(e.text, e.removes) for e in events] == [(before, 0), (letter, 1)]


@pytest.mark.parametrize("between", ["nothing", "A"])
def test_an_i_and_a_still_j_are_two_letters_once_the_hand_was_released(between):
    frames = still("I", 0, 1.5) + still(between, 1.5, 0.5) + still("J", 2, 3)
    assert read(frames) == "IJ"


def test_an_i_that_was_held_long_stays_before_a_still_j():
    assert read(still("I", 0, 4) + still("J", 4, 3)) == "IJ"


def test_jazz_is_spelled_with_two_movements_for_the_double_letter():
    frames = written("J", 0, 1.0)
    frames += still("A", 2, HELD, at=(0, 0))
    frames += written("Z", 4.5, 1.1) + written("Z", 6.6, 1.1)
    assert read(frames) == "JAZZ"


def test_hands_that_are_raised_lowered_or_waved_write_nothing():
    for corners in ([(0, 0), (0, 1.5)], [(0, 1.5), (0, 0)], [(0, 0), (1, 0), (0, 0)]):
        for letter in "ID":
            points = still(letter, 0, 0.1)[0].landmarks
            frames = []
            for i in range(16):
                way = i / 15 * (len(corners) - 1)
                x, y = (
                    np.interp(way, np.arange(len(corners)), axis)
                    for axis in np.transpose(corners)
                )
                moved = points + np.array([x, y, 0])
                frames.append(Frame(i / 15, probabilities(letter), moved))
            assert read(frames) == "", corners


@pytest.mark.parametrize("letter, most", [("I", 4), ("D", 1)])
def test_hands_that_move_at_random_seldom_write(letter, most):
    """Of 20 tracks, half of them of hands that turn as well. By the shape of the track
    alone, 17 of those of I wrote a J."""
    wrote = [
        any(event.sign in "JZ" for event in spelling.spell(wandering(letter, seed)))
        for seed in range(20)
    ]
    assert sum(wrote) <= most, wrote


def test_a_hand_held_still_is_no_movement_however_it_trembles():
    rng = np.random.default_rng(0)
    for letter in "ID":
        frames = [
            frame._replace(landmarks=frame.landmarks + rng.normal(0, 0.05, (21, 3)))
            for frame in still(letter, 0, 4, 20)
        ]
        assert read(frames) == letter


def test_every_movement_knows_the_hands_it_begins_with():
    for movement in movements.MOVEMENTS:
        assert movement.letter in movement.hands
        assert 0 <= movement.finger < 4
