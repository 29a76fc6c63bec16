"""The start of a run, new or resumed: its request checked, its evaluator built, its folder made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from effsearch.accuracy.registry import DEFAULTS, find, load_source
from effsearch.accuracy.score import ScoreSource
from effsearch.refine.request import RefineRequest
from effsearch.run.arguments import Resources, RunArguments
from effsearch.run.folder import default_folder, prepare
from effsearch.run.request import SPACES, SearchRequest
from effsearch.search.evaluation import Evaluator
from effsearch.targets import check_task
from searchspace import SearchSpace, UserError
from searchspace.narrowing import narrowed
from searchspace.schema import SEGMENTATION
from searchspace.space import space_names
from searchspace.space_file import parse_space
from searchspace.yaml_text import read_yaml

if TYPE_CHECKING:
    from effsearch.search.shared.study import SharedStudy

SPACE_FILE = "space.yaml"


@dataclass(frozen=True)
class Start:
    """A run that can go ahead.

    Attributes:
        request: what is asked for.
        folder: the run folder, which has the request and the space.
        space: what is searched.
        evaluator: prices and scores.
        resources: what may be used.
        refining: which of the best to train and rank by that; None for none.
        shared: the study that several drivers share; None where the run has its own.
    """

    request: SearchRequest
    folder: Path
    space: SearchSpace
    evaluator: Evaluator
    resources: Resources
    refining: RefineRequest | None = None
    shared: SharedStudy | None = None

    def screen(self) -> Evaluator:
        """Return what many networks can be scored with: the estimate, where the score is slow."""
        if not find(self.request.proxy).slow:
            return self.evaluator
        held = self.evaluator
        usual = load_source(DEFAULTS[self.request.task])
        return Evaluator(held.table, usual, held.confidence, held.others)


def start(arguments: RunArguments, say: Callable[[str], None]) -> Start:
    """Check a request, and make its run folder or open the one to continue.

    Args:
        arguments: what a person said.
        say: takes lines on the progress.

    Raises:
        UserError: where anything asked for is wrong, missing or changed; nothing is written then.
    """
    arguments.check()
    if arguments.ray_address is not None:
        from effsearch.search.ray_executor import check_cluster

        check_cluster(arguments.ray_address)
    begun = _begin(arguments, say) if arguments.resume is None else _resume(arguments, say)
    if begun.refining is not None:
        begun.refining.write(begun.folder)
    return begun


def _begin(arguments: RunArguments, say: Callable[[str], None]) -> Start:
    request = arguments.request()
    folder = arguments.out or default_folder(request)
    evaluator = request.evaluator_spec.make()
    space, text = _space(request)
    _check_task(request, space, evaluator.source)
    evaluator.source.check(space)
    scored = evaluator.source.space
    for own in request.enqueue:
        check_task(f"--enqueue: {own.name}", own.network, request.task)
        if scored is not None and own.network not in scored:
            raise UserError(
                f"--enqueue: {own.name} is not in the space {scored.name}, whose networks are the "
                f"only ones that {evaluator.source.name} scores"
            )
    refining = arguments.refining_of(request).make(arguments.ray_address, say)
    resources = arguments.resources()
    shared = _shared(request, resources, space, evaluator)
    prepare(folder)
    (folder / SPACE_FILE).write_text(text, "utf-8")
    request.write(folder, fingerprints(evaluator))
    return Start(request, folder, space, evaluator, resources, refining, shared)


def _check_task(request: SearchRequest, space: SearchSpace, source: ScoreSource) -> None:
    """Check that the space and the score are for the task of a request.

    Raises:
        UserError: names the option that is not.
    """
    task, own = request.task, space.spec.task
    if own != task:
        raise UserError(
            f"--space: {request.space} is a space of {own} networks; use --task {own} or a space "
            f"of {task} networks, such as {SPACES[task]}"
        )
    if source.task not in (None, task):
        raise UserError(
            f"--proxy: {source.name} scores {source.task} networks; with --task {task} use "
            f"{DEFAULTS[task]}, a count such as macs, or --score"
        )
    if task == SEGMENTATION and request.max_memory_mb is not None:
        raise UserError(
            "--max-memory: cannot be held against segmentation networks, whose heads keep several "
            "maps; leave it away (winners' cards have their memory)"
        )


def _resume(arguments: RunArguments, say: Callable[[str], None]) -> Start:
    folder = arguments.resume
    assert folder is not None
    if not folder.is_dir():
        raise UserError(f"--resume: {folder} is no folder")
    stored, then = SearchRequest.read(folder)
    if not (folder / SPACE_FILE).is_file():
        raise UserError(f"--resume: {folder} is no whole run (it has no {SPACE_FILE})")
    request = arguments.extended(stored, folder)
    evaluator = request.evaluator_spec.make()
    for name, value in fingerprints(evaluator).items():
        if then.get(name) != value:
            what = f"{name} {getattr(request, name, '')}".strip()
            raise UserError(
                f"--resume: the {what} changed since {folder} was begun; start a new run"
            )
    refining = arguments.refining_of(request).resumed(folder, arguments.ray_address, say)
    space = SearchSpace.load(folder / SPACE_FILE)
    if request != stored:
        request.write(folder, then)
    resources = arguments.resources()
    shared = _shared(request, resources, space, evaluator)
    return Start(request, folder, space, evaluator, resources, refining, shared)


def _shared(
    request: SearchRequest, resources: Resources, space: SearchSpace, evaluator: Evaluator
) -> SharedStudy | None:
    """Return the study that a run shares with others; None where it has its own.

    Raises:
        UserError: where the storage does not answer, or the study is of another question.
    """
    if request.study is None or resources.storage is None:
        return None
    from effsearch.search.shared.storage import open_storage
    from effsearch.search.shared.study import SharedStudy

    question = {
        **{f"limit {name}": value for name, value in asdict(request.limits).items()},
        "confidence": request.confidence,
        "space": hashlib.sha256(repr(space.spec).encode()).hexdigest(),
        **fingerprints(evaluator),
    }
    return SharedStudy(open_storage(resources.storage), request.study, space, question)


def fingerprints(evaluator: Evaluator) -> dict[str, str]:
    """Return digests of what a request only names: the latency tables and the score source."""
    cards = {"device": evaluator.table.meta, "proxy": evaluator.source.card}
    cards |= {f"device {table.name}": table.meta for table in evaluator.others}
    return {
        name: hashlib.sha256(json.dumps(card, sort_keys=True, default=str).encode()).hexdigest()
        for name, card in cards.items()
    }


def _space(request: SearchRequest) -> tuple[SearchSpace, str]:
    """Return the space of a request, and the file that says what it is."""
    space, name = SearchSpace.load(request.space), request.space
    shipped = Path(str(files("searchspace"))) / "spaces" / f"{name}.yaml"
    path = shipped if name in space_names() else Path(name)
    data = read_yaml(path, "space")
    assert isinstance(data, dict)
    if request.narrowing:
        body = narrowed({**data, "name": space.name}, space.spec, request.narrowing)
        return SearchSpace(parse_space(body)), yaml.safe_dump(body, sort_keys=False)
    text = path.read_text("utf-8")
    return space, text if "name" in data else f"name: {space.name}\n{text}"
