"""Training the votes: what it sees, that it learns, that it goes on where it stopped."""

import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs lightning, which only training needs")

from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.model import FieldOptions
from gnesf_model.field.views import SourceViews
from gnesf_model.field.voting import VotingOptions
from gnesf_model.field.weights import load_field, save_field
from gnesf_model.labels import UNKNOWN
from gnesf_model.training.corruption import Habits, corrupted
from gnesf_model.training.field import EXPORT, FieldModule, mean_iou, psnr, train_field
from gnesf_model.training.field_data import FieldData, VoteExamples
from gnesf_model.training.field_recipe import FieldRecipe
from gnesf_model.training.labelled_patch import SPACING_M, LabelledPatch
from gnesf_model.training.merged_classes import merged_labels, merged_probabilities, merging
from gnesf_model.training.noisy_segmenter import NoisySegmenter
from gnesf_model.training.room_sequences import RoomSequence, RoomSequences, jittered

SMALL = FieldOptions(widths=(8, 16, 16, 24), features=(12, 12, 12), encoding=(8, 8, 8), direct_classes=20)
PERFECT = Habits(np.arange(20), base=0.0, near=0.0, border=0.0, near_m=1.0, height=3.2, sure=0.0, unclear=0.0)


@pytest.fixture(scope="module")
def sequence() -> RoomSequence:
    source = RoomSource(11, frames=12, stride=15, width=128, height=96, shading=False)
    return RoomSequence.render(source, lambda rgb: NoisySegmenter((128, 96))(rgb, 0.1, 0))


def overconfident(classes, rng):
    """Wrong on nearly half of the segments, alike in every view, and surer when wrong: averaging believes it."""
    mistaken_for = (np.arange(classes) + 1 + np.arange(classes) % 3) % classes
    return Habits(mistaken_for, base=0.45, near=0.0, border=0.0, near_m=1.0, height=3.2, sure=-0.6, unclear=0.4)


def plain(**changes) -> FieldRecipe:
    recipe = FieldRecipe(rooms=1, views=12, sources=(7, 9), merge=0.0, shift_m=0.0, turn_deg=0.0, occlude=0.0)
    return replace(recipe, **changes)


def silent(module: FieldModule) -> FieldModule:
    """There is no trainer that would log."""
    module.log = module.log_dict = lambda *a, **k: None
    return module


def test_votes_learn_whom_to_trust(sequence):
    """One room, 60 steps: learned votes beat averaging where the segmenter is corrupted, on what they were trained on
    and on other mistakes. It takes well under two minutes of one core: whoever changes the training can try it so."""
    recipe = plain(points=700, telling=500, drop=0.0, invented=1.0)
    torch.manual_seed(0)
    module = silent(FieldModule(asdict(recipe), SMALL))
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    examples = VoteExamples([sequence] * 60, recipe, (0, 0), overconfident)
    # Other draws of target, sources, points and mistakes.
    others = VoteExamples([sequence] * 8, recipe, (9, 9), overconfident)

    def scores(drawn, indices):
        module.eval().counts.clear()
        with torch.no_grad():
            for index in indices:
                module.validation_step(drawn[index], index)
        module.train()
        return {name: float(counts[:, 0].sum() / counts[:, 1].sum()) for name, counts in module.counts.items()}

    before = scores(others, range(8))
    assert before["voted"] == before["averaged"] == before["window"], "it starts at averaging"
    assert before["spatial"] == before["voted_geometric"], "and at the geometric fallback"
    start = time.process_time()
    for step in range(60):
        loss = module.training_step(examples[step], step)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert time.process_time() - start < 120, "seconds of processor time; it was 11 on a core of a server"
    known, after = scores(examples, range(0, 60, 3)), scores(others, range(8))
    assert after["averaged"] == before["averaged"]
    for head in ("voted", "window", "spatial"):
        assert known[head] > known["averaged"] + 0.15, (head, known)
        assert after[head] > after["averaged"] + 0.2, (head, after)
    assert after["direct"] > before["direct"] + 0.1


def test_points_trained_on_are_those_where_views_disagree(sequence):
    module = FieldModule(asdict(plain(points=900, telling=400, invented=1.0)), SMALL)
    most = 0
    for number in range(6):
        example = VoteExamples([sequence], module.recipe, (1, number), overconfident)[0]
        found = module.look(example)
        rows = module._telling(example, found)
        best, labels = found.probabilities.argmax(-1), example.labels
        right, wrong = ((equal & found.seen).any(0) for equal in (best == labels, best != labels))
        telling = right & wrong & (labels != UNKNOWN)
        expected = min(int(telling.sum()), 200)
        assert telling[rows][:expected].all(), "they come first"
        assert found.seen[:, rows].any(0).all() and (labels[rows] != UNKNOWN).all()
        assert len(rows.unique()) == len(rows) <= 400
        most = max(most, expected)
    assert most == 200


def test_examples_are_the_same_every_time_and_hold_out_the_target(sequence):
    recipe = FieldRecipe(rooms=1, views=12, sources=(11, 11), points=300, merge=1.0)
    a, b = (VoteExamples([sequence], recipe, (3, 4))[0] for _ in range(2))
    assert torch.equal(a.points, b.points) and torch.equal(a.probabilities, b.probabilities)
    assert np.array_equal(a.world_T_cam, b.world_T_cam) and a.known == b.known
    others = [VoteExamples([sequence], recipe, (3, 5 + k))[0] for k in range(8)]
    assert not torch.equal(a.points[:100], others[0].points[:100])
    assert len({e.known for e in others}) > 2 and all(1 <= e.known <= 11 for e in others)
    assert len(a.images) == 11 and a.merged
    assert int(a.labels[a.labels != 255].max()) < a.probabilities.shape[1], "merged labels fit merged classes"
    apart = np.linalg.norm(a.world_T_cam[:, None, :3, 3] - sequence.world_T_cam[None, :, :3, 3], axis=2)
    assert apart.min(axis=1).max() < 0.08, "poses are off by about a centimetre"
    assert apart.min(axis=1).max() > 0.001


@pytest.mark.parametrize("invented", [0.0, 1.0])
def test_segmentations_are_a_networks_or_made_up(sequence, invented):
    example = VoteExamples([sequence], plain(invented=invented, points=300), (1, 1))[0]
    assert example.probabilities.shape == (len(example.images), 20, 24, 32)
    total = example.probabilities.sum(1)
    assert float((total - 1).abs()[total > 0].max()) < 1e-3
    named = [said.argmax(0) for said in sequence.said]
    alike = [max(float((view.argmax(0).numpy() == n).mean()) for n in named) for view in example.probabilities]
    assert (min(alike) > 0.99) == (invented == 0.0), "sharpness aside, they are what the network said"


def test_a_patch_is_a_piece_of_surface_as_the_map_would_hold_it(sequence):
    patch = LabelledPatch.of_view(sequence, 4, 500, np.random.default_rng(0))
    points = patch.surface.points
    assert len(points) == len(patch.labels) == 500
    views = SourceViews.make([sequence.camera], [sequence.world_T_cam[4]], torch.zeros(1, 0, 24, 32))
    place = views.project(points)
    u, v = place.pixels[0].round().long().T
    assert place.inside.all()
    np.testing.assert_array_equal(sequence.labels[4][v, u], patch.labels)
    np.testing.assert_allclose(sequence.depth[4][v, u], place.depth[0], atol=1e-3)
    np.testing.assert_allclose(sequence.rgb[4][v, u] / 255, patch.surface.colors, atol=1e-6)
    assert len((points / SPACING_M).floor().unique(dim=0)) == 500, "one for each voxel"
    middle = points.double().mean(0)
    assert float((points - middle).norm(dim=1).median()) < 1.0, "they lie together"
    normals = patch.surface.normals
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(500))
    eye = torch.from_numpy(sequence.world_T_cam[4][:3, 3]).float()
    assert (((eye - points) * normals).sum(1) >= 0).all(), "towards the camera"
    floor = patch.labels == 1
    if int(floor.sum()) > 50:
        assert float(normals[floor][:, 2].abs().median()) > 0.9
    empty = replace(sequence, depth=np.zeros_like(sequence.depth))
    assert len(LabelledPatch.of_view(empty, 4, 500, np.random.default_rng(0)).labels) == 0


def test_disturbed_networks_err_more_and_each_in_its_own_way(sequence):
    segment = NoisySegmenter((128, 96))
    truth = sequence.labels[:4, 1::4, 1::4]

    def right(noise, seed):
        said = segment(sequence.rgb[:4], noise, seed).argmax(1)
        return float((said == truth)[truth != UNKNOWN].mean()), said

    clean, first = right(0.0, 0)
    assert np.array_equal(first, right(0.0, 5)[1]), "without noise there is nothing to draw"
    weak = [right(0.6, seed) for seed in range(3)]
    assert np.mean([accuracy for accuracy, _ in weak]) < clean
    assert not np.array_equal(weak[0][1], weak[1][1])
    assert np.array_equal(weak[0][1], right(0.6, 0)[1])


def test_a_perfect_segmenter_says_the_truth(sequence):
    labels = sequence.labels[0].copy()
    labels[:40, :60] = 255
    found = corrupted(labels, sequence.depth[0], PERFECT, np.random.default_rng(0))
    truth = labels[2::4, 2::4]
    assert found.shape == (20, 24, 32) and found.dtype == np.float32
    assert (found.argmax(0) == truth)[truth != 255].all()
    assert np.abs(found[:, truth == 255]).max() == 0, "unknown stays unknown"
    np.testing.assert_allclose(found.sum(0)[truth != 255], 1, atol=1e-5)


def test_mistakes_are_of_whole_segments_and_where_they_are_said_to_be():
    labels = np.zeros((96, 128), np.uint8)
    labels[20:60, 30:70] = 1
    depth = np.full((96, 128), 3.0, np.float32)
    depth[20:60, 30:70] = 1.0
    habits = replace(PERFECT, mistaken_for=np.array([2, 3, 0, 1]), near=0.9, near_m=1.5)
    wrong = 0
    for seed in range(40):
        said = corrupted(labels, depth, habits, np.random.default_rng(seed)).argmax(0)
        box = said[5:15, 8:17]
        assert len(np.unique(box)) == 1, "a segment errs as a whole"
        assert (np.delete(said.reshape(-1), np.flatnonzero(labels[2::4, 2::4])) == 0).all(), "what is far is right"
        wrong += box[0, 0] != 1
    assert 25 <= wrong <= 40
    one_class = corrupted(labels * 0, depth, Habits.sampled(1, np.random.default_rng(0)), np.random.default_rng(0))
    assert one_class.shape[0] == 1 and np.isfinite(one_class).all()


def test_merged_classes_are_a_label_space():
    labels = np.array([0, 5, 19, 255], np.uint8)
    for seed in range(30):
        groups = merging(20, np.random.default_rng(seed))
        assert 1 <= groups.max() < 20 and set(groups) == set(range(groups.max() + 1))
        merged = merged_labels(labels, groups)
        assert merged.tolist() == [*groups[[0, 5, 19]], 255]
        p = np.random.default_rng(seed).dirichlet(np.ones(20), (2, 3, 4)).transpose(0, 3, 1, 2)
        found = merged_probabilities(p, groups)
        np.testing.assert_allclose(found.sum(1), 1)
        np.testing.assert_allclose(found[:, groups[5]], p[:, groups == groups[5]].sum(1))


def test_jitter_is_as_large_as_it_says():
    poses = np.tile(np.eye(4), (4000, 1, 1))
    found = jittered(poses, np.random.default_rng(0), 0.01, 0.02)
    assert found[:, :3, 3].std() == pytest.approx(0.01, rel=0.05)
    angle = np.arccos(np.clip((np.trace(found[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1))
    assert np.sqrt((angle**2).mean()) == pytest.approx(0.02 * np.sqrt(3), rel=0.05)
    assert np.array_equal(jittered(poses, np.random.default_rng(0), 0.0, 0.0), poses)


def test_rooms_are_rendered_once(tmp_path, sequence):
    wanted = RoomSequences(500_000, 2, views=3, width=64, height=48)
    folder = wanted.render(tmp_path / "rooms")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "rooms").glob("*.npz")}
    assert len(folder) == len(times) == 2
    again = replace(wanted, rooms=2).render(tmp_path / "rooms")
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert again[1].rgb.shape == (3, 48, 64, 3) and again[0].depth.dtype == np.float32
    with pytest.raises(IndexError):
        again[2]
    with pytest.raises(ValueError, match="holds walks with views 3"):
        replace(wanted, views=4).render(tmp_path / "rooms")
    with pytest.raises(FileNotFoundError, match="not a folder of rendered walks"):
        RoomSequences.open(tmp_path)
    sequence.save(tmp_path / "one.npz")
    loaded = RoomSequence.load(tmp_path / "one.npz")
    assert loaded.camera == sequence.camera and np.array_equal(loaded.labels, sequence.labels)
    assert np.abs(loaded.depth - sequence.depth).max() <= 0.0006
    assert np.abs(loaded.said - sequence.said).max() <= 0.5 / 255 + 1e-6
    (tmp_path / "cut.npz").write_bytes(b"no zip")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("cut.npz", "other.npz"):
        with pytest.raises(OSError, match=f"{name} is no rendered walk"):
            RoomSequence.load(tmp_path / name)


TINY = FieldRecipe(
    rooms=2,
    views=4,
    validation_rooms=1,
    epochs=1,
    width=64,
    height=48,
    sources=(2, 3),
    points=64,
    telling=48,
    warm_up=1,
)


def test_training_writes_a_field_and_goes_on(tmp_path):
    path = train_field(TINY, tmp_path, options=SMALL, device="cpu", workers=0)
    assert path == tmp_path / EXPORT
    first = load_field(path)
    assert first.options.features == (12, 12, 12) and not first.training
    assert first.voting.last.weight.abs().max() > 0, "it has left averaging"
    assert list((tmp_path / "log").glob("events*"))
    with pytest.raises(ValueError, match="go on with it"):
        train_field(TINY, tmp_path, options=SMALL, device="cpu", workers=0)
    with pytest.raises(ValueError, match=r"points 64 \(now 65\)"):
        train_field(TINY.with_changes(points=65), tmp_path, options=SMALL, device="cpu", workers=0, resume=True)
    with pytest.raises(ValueError, match=r"made with widths \(8, 16, 16, 24\) \(now \(8, 16, 16, 16\)\)"):
        other = replace(SMALL, widths=(8, 16, 16, 16))
        train_field(TINY, tmp_path, options=other, device="cpu", workers=0, resume=True)
    with pytest.raises(ValueError, match="give --devices 1"):
        train_field(TINY, tmp_path / "new", options=SMALL, device="cpu", devices=2)
    train_field(TINY.with_changes(), tmp_path, options=SMALL, device="cpu", workers=0, resume=True)
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        train_field(TINY, tmp_path / "new", device="cpu", resume=True)


def test_an_interrupted_training_ends_in_the_same_field(tmp_path, monkeypatch):
    recipe, rooms = TINY.with_changes(epochs=2, drop=0.5), tmp_path / "rooms"
    whole = load_field(train_field(recipe, tmp_path / "a", rendered=rooms, options=SMALL, device="cpu", workers=0))
    draw = VoteExamples.__getitem__

    def unplugged(self, index):
        if self.seed[1] == 1:
            raise RuntimeError("the power went")
        return draw(self, index)

    with monkeypatch.context() as patch:
        patch.setattr(VoteExamples, "__getitem__", unplugged)
        with pytest.raises(RuntimeError, match="the power went"):
            train_field(recipe, tmp_path / "b", rendered=rooms, options=SMALL, device="cpu", workers=0)
    assert not (tmp_path / "b" / EXPORT).exists()
    path = train_field(recipe, tmp_path / "b", rendered=rooms, options=SMALL, device="cpu", workers=0, resume=True)
    for name, tensor in load_field(path).state_dict().items():
        torch.testing.assert_close(tensor, whole.state_dict()[name], rtol=1e-3, atol=1e-5)  # sums in another order


def test_a_process_reads_the_same_examples(tmp_path):
    """Spawned: the threads of OpenCV and torch do not survive a fork."""
    found = []
    for workers in (0, 1):
        data = FieldData(TINY, tmp_path, workers)
        data.prepare_data()
        data.setup("fit")
        loader = data.val_dataloader()
        assert workers == 0 or loader.multiprocessing_context.get_start_method() == "spawn"
        found.append(next(iter(loader)))
    assert torch.equal(found[0].points, found[1].points)
    assert torch.equal(found[0].probabilities, found[1].probabilities)


def test_a_view_that_names_nothing_does_not_name_the_first_class(sequence):
    module = FieldModule(asdict(plain(points=900, invented=1.0)), SMALL)
    example = next(
        e for k in range(20) if ((e := VoteExamples([sequence], module.recipe, (1, k))[0]).labels == 0).sum() > 50
    )
    mute = replace(example, probabilities=torch.zeros_like(example.probabilities))
    with torch.no_grad():
        module.eval().validation_step(mute, 0)
    for name, counts in module.counts.items():
        assert counts[:, 1].sum() > 0
        assert name == "direct" or counts[:, 0].sum() == 0, "nothing is named, so nothing is right"
    # One view says wall, the others nothing: at walls there is something to learn, for the others are not right.
    found = module.look(mute)
    walls = found.seen[:, example.labels == 0]
    teller = int((walls & (walls.sum(0) > 1)).sum(1).argmax())
    one = torch.zeros_like(example.probabilities)
    one[teller, 0] = 1.0
    found = module.look(replace(mute, probabilities=one))
    rows = module._telling(example, found)
    seen = found.seen[:, rows]
    telling = seen[teller] & (seen.sum(0) > 1) & (example.labels[rows] == 0)
    assert telling.any() and telling[: int(telling.sum())].all(), "they come first"


def test_scores_are_the_mean_over_the_classes_that_there_are():
    counts = torch.tensor([[6.0, 8, 8], [0, 0, 2], [2, 4, 2]])
    assert float(mean_iou(counts)) == pytest.approx((6 / 10 + 2 / 4) / 2)


def test_repeated_viewpoints_are_counted_in_training_as_on_the_robot(sequence):
    options = replace(SMALL, voting=VotingOptions(use_repeats=True))
    module = FieldModule(asdict(plain(points=64)), options).eval()
    example = VoteExamples([sequence], module.recipe, (1, 1))[0]
    poses = np.repeat(example.world_T_cam[:1], len(example.images), axis=0)
    with torch.no_grad():
        found = module.look(replace(example, world_T_cam=poses))
    assert found.repeats.tolist() == list(range(len(poses)))


def test_every_head_learns_and_merged_classes_leave_the_direct_one_out(sequence):
    for merge in (0.0, 1.0):
        module = silent(FieldModule(asdict(plain(points=256, merge=merge)), SMALL))
        example = VoteExamples([sequence], module.recipe, (1, 1))[0]
        module.training_step(example, 0).backward()
        for head in (module.field.voting, module.field.logit_voting, module.field.direct):
            learns = head.last.weight.grad is not None and bool(head.last.weight.grad.abs().max() > 0)
            assert learns == (merge == 0.0 or head is not module.field.direct)
        assert module.field.spatial.gate[-1].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"sources": (8, 28)}, "sources is"),
        ({"points": 0}, "points is 0"),
        ({"epochs": 0}, "epochs"),
        ({"telling": 0}, "telling is 0"),
    ],
)
def test_recipes_that_cannot_be_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        FieldRecipe(**wrong)


def test_colors_learn_alone_and_leave_the_votes_as_they_are(sequence, tmp_path):
    """Every third source is painted over: after 150 steps the view that is held out is blended from the others."""
    torch.manual_seed(0)
    whole = FieldModule(asdict(plain()), replace(SMALL, colors=False)).field
    save_field(whole, tmp_path / "field.safetensors")
    with pytest.raises(ValueError, match=r"no field to start from: name one \(--start\)"):
        train_field(plain(learn="colors"), tmp_path / "a", device="cpu", workers=0)
    with pytest.raises(ValueError, match="learn is 'shapes', expected one of votes, geometry, colors"):
        plain(learn="shapes")
    path = train_field(
        TINY.with_changes(learn="colors"),
        tmp_path / "b",
        start=tmp_path / "field.safetensors",
        device="cpu",
        workers=0,
    )
    trained, before = load_field(path), load_field(tmp_path / "field.safetensors")
    assert trained.options == replace(before.options, colors=True, voting=trained.options.voting)
    for name, value in before.state_dict().items():
        assert torch.equal(trained.state_dict()[name], value), f"{name} has changed"
    assert trained.blending.last.weight.abs().max() > 0

    recipe = plain(points=700, learn="colors")
    torch.manual_seed(0)
    module = silent(FieldModule(asdict(recipe), replace(SMALL, colors=True)))
    with torch.no_grad():
        module.field.blending.log_sharpness.fill_(4.6)  # more views count than at first: there is more to distrust
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=5e-3)

    def painted(number, seed):
        example = VoteExamples([sequence] * (number + 1), recipe, (seed, seed))[number]
        images = example.images.clone()
        paint = np.random.default_rng((seed, number)).uniform(size=(len(images[::3]), 3, 1, 1))
        images[::3] = torch.from_numpy(paint.astype(np.float32))
        return replace(example, images=images)

    def scores():
        module.eval().errors.clear()
        with torch.no_grad():
            for number in range(6):
                module.validation_step(painted(number, 9), number)
        module.train()
        return {name: float(psnr(total / count)) for name, (total, count) in module.errors.items()}

    first = scores()
    for step in range(150):
        loss = module.training_step(painted(step, 0), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    last = scores()
    assert last["averaged"] == first["averaged"]
    assert last["blended"] > max(first["blended"], last["averaged"]) + 1, (first, last)


def test_the_loss_of_colors_reaches_their_head_alone(sequence):
    module = silent(FieldModule(asdict(plain(points=256, learn="colors", shift_m=1.0)), replace(SMALL, colors=True)))
    example = VoteExamples([sequence], module.recipe, (1, 1))[0]
    known = {pose.tobytes() for pose in sequence.world_T_cam}
    assert all(pose.tobytes() in known for pose in example.world_T_cam), "pictures lie where they were taken"
    module.training_step(example, 0).backward()
    taught = {n.split(".")[1] for n, p in module.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert taught == {"blending"}
    loss = module.training_step(replace(example, points=example.points + 100.0), 0)
    loss.backward()
    assert loss.isfinite()
