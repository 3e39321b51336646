"""From what is seen, frame by frame, to text: the rules of spelling by hand.

A letter counts once it has been held. The same letter counts again only after the hand
has been released: another sign, ``nothing``, for a moment. J and Z are movements
(`demo.movements`). Pure functions: a state and a frame in, a state and events out.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from demo import movements

SPACE, DELETE, NOTHING = "space", "del", "nothing"


class Frame(NamedTuple):
    """What is seen in one frame.

    Attributes:
        time: Seconds, of any clock that only goes forward.
        probabilities: By class name.
        landmarks: ``(21, 3)`` of the hand, x to the right, y down and z in one unit;
            None without a hand, or with a model that knows none.
    """

    time: float
    probabilities: dict[str, float]
    landmarks: np.ndarray | None = None


class Rules(NamedTuple):
    """When a sign counts; times in seconds.

    Attributes:
        hold: Time over which a sign is looked at.
        sure: Least mean probability over that time.
        likely: Least mean probability of a sign that is held `slow` times as long, if
            it also has `lead` times that of every other sign: models are seldom sure
            of people they have not seen.
        frames: Least number of frames in it.
        gap: Longest time without a frame in it.
        release: Time over which another sign is looked at, to release the last one.
        released: Mean probability of the last sign, below which it is released.
        resting: Hands that move faster hold nothing; sizes of the hand a second.
        still: How many times `hold` a J or Z must be held that does not move, where
            movements can be seen.
        beginning: A sign that counted so short a time before a movement, and that the
            movement begins with, was its beginning, and is replaced. So is the I that
            a hand showed before it turned to a J that is held still.
        movement: When a track is a letter.
    """

    hold: float = 0.7
    sure: float = 0.6
    likely: float = 0.25
    lead: float = 2.0
    slow: float = 1.7
    frames: int = 3
    gap: float = 0.7
    release: float = 0.3
    released: float = 0.3
    resting: float = 0.8
    still: float = 2.0
    beginning: float = 2.5
    movement: movements.Rules = movements.Rules()


class Event(NamedTuple):
    """A change of the text.

    Attributes:
        time: When, seconds.
        sign: The class that counted.
        text: What is added.
        removes: How many characters are taken away before that.
    """

    time: float
    sign: str
    text: str
    removes: int = 0


class Seen(NamedTuple):
    """A frame as the state keeps it; `resting`: the hand did not move."""

    time: float
    probabilities: dict[str, float]
    resting: bool


class State(NamedTuple):
    """What has to be remembered between frames.

    Attributes:
        seen: The last frames.
        track: Of the hand, the same time back; its points since the last movement.
        spent: Signs that count no more until the hand is released.
        anew: Signs that the hand was released from last, ...
        since: ... and when: they are held anew from there on.
        formed: The hands of a movement that the last sign is one of, until the hand
            is released from all of them.
        last: The last event.
        holding: The sign that is being held, "" if none.
        progress: How far it has been held, 0 to 1.
    """

    seen: tuple[Seen, ...] = ()
    track: tuple[movements.Point, ...] = ()
    spent: frozenset[str] = frozenset()
    anew: frozenset[str] = frozenset()
    since: float = 0.0
    formed: frozenset[str] = frozenset()
    last: Event | None = None
    holding: str = ""
    progress: float = 0.0


def step(
    state: State, frame: Frame, rules: Rules = Rules()
) -> tuple[State, Event | None]:
    """Take one more frame into account.

    Frames that are not later than the last one change nothing.
    """
    if state.seen and frame.time <= state.seen[-1].time:
        return state, None
    best = _best(frame.probabilities)
    track = _followed(state.track, frame, best, rules)
    resting = not track or movements.speed(track, rules.release / 2) < rules.resting
    seen = (*state.seen, Seen(frame.time, frame.probabilities, resting))
    first = frame.time - rules.hold * rules.still * rules.slow - 1
    seen = tuple(one for one in seen if one.time >= first)
    state = state._replace(seen=seen, track=track, holding="", progress=0.0)
    if frame.landmarks is not None:
        movement = movements.find(track, rules.movement)
        if movement:
            return _moved(state, frame.time, movement, rules)
    spent = _unreleased(state.spent, state.seen, frame.time, rules)
    if state.spent and not spent:
        state = state._replace(anew=state.spent, since=frame.time)
    state = state._replace(
        spent=spent,
        formed=_unreleased(state.formed, state.seen, frame.time, rules),
    )
    if not best or best == NOTHING or best in state.spent or not resting:
        return state, None
    return _held(state, frame, best, rules)


def spell(frames: Iterable[Frame], rules: Rules = Rules()) -> Iterator[Event]:
    """Turn a stream of frames into events."""
    state = State()
    for frame in frames:
        state, event = step(state, frame, rules)
        if event:
            yield event


def apply(text: str, event: Event) -> str:
    """Change a text as an event says."""
    return text[: len(text) - min(event.removes, len(text))] + event.text


def read(frames: Iterable[Frame], rules: Rules = Rules()) -> str:
    """The text that a stream of frames spells."""
    text = ""
    for event in spell(frames, rules):
        text = apply(text, event)
    return text


def _best(probabilities) -> str:
    return max(probabilities, key=probabilities.get) if probabilities else ""


def _followed(track, frame, best, rules):
    if frame.landmarks is not None:
        new = movements.point(frame.time, best, np.asarray(frame.landmarks, float))
        track = (*track, new)
    first = frame.time - rules.movement.longest - 0.1
    return tuple(point for point in track if point.time >= first)


def _moved(state, time, movement, rules):
    """A movement has ended: its letter counts, in place of what began it."""
    last = state.last
    began = last and last.sign in movement.hands and last.sign in state.spent
    began = began and last.sign != movement.letter and not last.removes
    replaces = int(bool(began and time - last.time <= rules.beginning))
    event = Event(time, movement.letter, movement.letter, replaces)
    spent = movement.hands | {movement.letter}
    return state._replace(track=(), spent=spent, formed=frozenset(), last=event), event


def _unreleased(signs, seen, time, rules):
    """These signs; none once the hand was released from them."""
    lately = [one for one in seen if one.time > time - rules.release]
    if len(lately) < 2:  # slow frames
        lately = [one for one in seen[-2:] if one.time > time - rules.gap]
    long = time - lately[0].time >= rules.release / 2
    released = len(lately) > 1 and long and _mean(lately, signs) < rules.released
    return frozenset() if released else signs


def _mean(seen, signs) -> float:
    return sum(sum(o.probabilities.get(s, 0) for s in signs) for o in seen) / len(seen)


def _held(state, frame, best, rules):
    """The best sign of a frame counts if it has been held for long enough."""
    hold, seen, last = rules.hold, state.seen, state.last
    if best in state.anew:  # how it was held before counts no second time
        seen = tuple(one for one in seen if one.time >= state.since)
    movement = None
    if frame.landmarks is not None:
        movement = next((m for m in movements.MOVEMENTS if m.letter == best), None)
    if movement:
        hold *= rules.still
    window = _showing(best, seen, frame.time - hold, rules)
    if _mean(window, {best}) < rules.sure:
        hold *= rules.slow
        window = _showing(best, seen, frame.time - hold, rules)
        if not _leads(best, window, rules):
            return state, None
    progress = min(1.0, (frame.time - window[0].time) / hold)
    state = state._replace(holding=best, progress=progress)
    if progress < 1 or len(window) < rules.frames:
        return state, None
    if best == DELETE:
        event = Event(frame.time, best, "", 1)
    else:
        began = movement and last and last.sign == movement.formed
        began = began and best in state.formed
        soon = last and window[0].time - last.time <= rules.beginning
        text = " " if best == SPACE else best
        event = Event(frame.time, best, text, int(bool(began and soon)))
    formed = next((m.hands for m in movements.MOVEMENTS if m.formed == best), ())
    spent = frozenset({best})
    return state._replace(spent=spent, formed=frozenset(formed), last=event), event


def _showing(best, seen, since, rules):
    """The frames since a time, from the first on that shows a sign."""
    window = _window(seen, since, rules.gap)
    shows = next(i for i, one in enumerate(window) if _best(one.probabilities) == best)
    return window[shows:]


def _leads(best, window, rules) -> bool:
    """Whether a sign is likely, and far before the others."""
    mean = _mean(window, {best})
    others = max(_mean(window, {s}) for s in window[-1].probabilities if s != best)
    return mean >= rules.likely and mean >= rules.lead * others


def _window(seen, since, gap):
    """The resting frames since a time, and the one before; none before a gap."""
    window = []
    for one in reversed(seen):
        if window and window[0].time - one.time > gap:
            break
        if one.resting:
            window.insert(0, one)
            if one.time <= since:
                break
    return window
