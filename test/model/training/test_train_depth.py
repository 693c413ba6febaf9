"""Training depth from images: what it sees, that it learns, that it goes on where it stopped."""

import itertools
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

pytest.importorskip("lightning", reason="needs lightning, which only training needs")

from gnesf_model.cli import main
from gnesf_model.data.procrooms import RoomSource
from gnesf_model.field.depth_network import DepthOptions
from gnesf_model.field.weights import load_depth
from gnesf_model.geometry import motion
from gnesf_model.training.depth import DepthModule, train_depth
from gnesf_model.training.depth_data import DepthData, DepthExamples, cell_depth
from gnesf_model.training.depth_recipe import DepthRecipe
from gnesf_model.training.depth_walks import STEP_M, TURN_DEG, DepthWalks, moving_stretch
from gnesf_model.training.walks import Walk

SMALL = DepthOptions(
    widths=(8, 8, 16, 16), matching=8, groups=2, context=(8, 8, 8), planes=32, evidence=4, hidden=(24, 16, 16)
)
TINY = DepthRecipe(rooms=2, views=4, validation_rooms=1, epochs=2, rooms_per_step=1, width=64, height=48, warm_up=1)


@pytest.fixture(scope="module")
def sequence() -> Walk:
    source = RoomSource(11, frames=120, stride=3, width=96, height=72, shading=False)
    chosen = moving_stretch(source.poses, 7)
    frames = [source[index] for index in chosen]
    rgb, depth = (np.stack(images) for images in zip(*((f.rgb, f.depth) for f in frames)))
    return Walk(source.camera, source.poses[chosen], rgb, depth)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    return tmp_path_factory.mktemp("rendered")


def test_depth_is_learned(sequence):
    """One room, 80 steps, a minute of one core: the error of views that it is asked about falls to a third."""
    recipe = DepthRecipe(rooms=1, views=7, learning_rate=3e-3)
    torch.manual_seed(0)
    module = DepthModule(asdict(recipe), SMALL)
    module.log = lambda *a, **k: None  # there is no trainer that would log
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)

    def error() -> float:
        example = DepthExamples([sequence], recipe, (9, 9), augment=False)[0]
        with torch.no_grad():
            found = [module.network.depth(p)[0] for p in module.predict(example)]
        known = example.depth > 0
        return float((torch.stack(found) / example.depth.clamp_min(1e-3) - 1).abs()[known].mean())

    before = error()
    examples = DepthExamples([sequence] * 80, recipe, (0, 0))
    for step in range(80):
        loss = module.training_step(examples[step], step)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert error() < min(before / 3, 0.12), (before, error())


def test_examples_are_the_same_every_time_and_targets_are_not_their_own_sources(sequence):
    recipe = replace(TINY, views=7, targets=3)
    a, b = (DepthExamples([sequence], recipe, (3, 4))[0] for _ in range(2))
    assert torch.equal(a.images, b.images) and torch.equal(a.depth, b.depth) and a.targets == b.targets
    assert np.array_equal(a.world_T_cam, b.world_T_cam)
    later = 0
    for number in range(12):
        example = DepthExamples([sequence], recipe, (3, 10 + number))[0]
        assert 1 <= len(example.targets) == len(example.depth) <= 3
        for target, sources in example.targets:
            assert target not in sources and 1 <= len(sources) <= recipe.sources
            later += any(source > target for source in sources)
    assert 0 < later < 36, "as a robot sees it, and now and then from both sides"


def test_without_augmentation_an_example_is_what_the_robot_will_see(sequence):
    example = DepthExamples([sequence], replace(TINY, views=7, targets=9), (0, 0), augment=False)[0]
    for target, sources in example.targets:
        assert all(source < target for source in sources)
    truth = {cell_depth(d).tobytes() for d in sequence.depth}
    assert all(d.numpy().tobytes() in truth for d in example.depth)
    images = {(image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy().tobytes() for image in example.images}
    assert images <= {image.tobytes() for image in sequence.rgb}


def test_a_walk_that_only_turns_still_gives_an_example(sequence):
    poses = np.stack([sequence.world_T_cam[0]] * 7)
    example = DepthExamples([replace(sequence, world_T_cam=poses)], replace(TINY, views=7), (0, 0))[0]
    assert [sources for _, sources in example.targets] == [()] and len(example.images) == 1


def test_keyframes_are_those_of_the_stretch_that_moves_most():
    poses = np.stack([np.eye(4)] * 100)
    poses[:, 0, 3] = np.concatenate([np.zeros(40), np.linspace(0, 2, 40), np.full(20, 2.0)])
    chosen = moving_stretch(poses, 6)
    assert len(chosen) == 6 and chosen[1] >= 40 and chosen[-1] < 81
    for a, b in itertools.pairwise(chosen):
        distance, angle = motion(poses[a], poses[b])
        assert distance >= STEP_M or angle >= TURN_DEG
    still = moving_stretch(np.stack([np.eye(4)] * 9), 6)
    assert len(set(still)) == 6 and still == sorted(still)


def test_rooms_are_rendered_once_and_come_back(tmp_path):
    wanted = DepthWalks(750_000, 1, 3, 48, 36)
    folder = wanted.render(tmp_path, workers=1)
    found = folder[0]
    assert found.rgb.shape == (3, 36, 48, 3) and found.depth.shape == (3, 36, 48) and len(found.world_T_cam) == 3
    source = RoomSource.as_recorded(750_000, 250, (48, 36), 3, looks="varied")
    chosen = moving_stretch(source.poses, 3)
    np.testing.assert_array_equal(found.world_T_cam, source.poses[chosen])
    np.testing.assert_allclose(found.depth[1], source.images(chosen[1]).depth.numpy(), atol=6e-4)
    before = next(tmp_path.glob("*.npz")).stat().st_mtime_ns
    wanted.render(tmp_path)
    assert next(tmp_path.glob("*.npz")).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="walks with views 3; expected views 4"):
        replace(wanted, views=4).render(tmp_path)
    next(tmp_path.glob("*.npz")).write_bytes(b"no")
    with pytest.raises(OSError, match="is no rendered walk"):
        folder[0]


def test_an_interrupted_training_ends_in_the_same_network(tmp_path, rendered, monkeypatch):
    options = {"rendered": rendered, "options": SMALL, "device": "cpu", "workers": 0}
    whole = load_depth(train_depth(TINY, tmp_path / "whole", **options)).state_dict()
    with monkeypatch.context() as context:
        opened = DepthData.train_dataloader

        def interrupted(self):
            if self.trainer.current_epoch == 1:
                raise KeyboardInterrupt
            return opened(self)

        context.setattr(DepthData, "train_dataloader", interrupted)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_depth(TINY, tmp_path / "stopped", **options)
    with pytest.raises(ValueError, match="holds a training already"):
        train_depth(TINY, tmp_path / "stopped", **options)
    with pytest.raises(ValueError, match="was made with"):
        train_depth(replace(TINY, targets=1), tmp_path / "stopped", resume=True, **options)
    found = load_depth(train_depth(TINY, tmp_path / "stopped", resume=True, **options)).state_dict()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-3, atol=1e-5)  # sums in another order
    assert list((tmp_path / "whole").glob("log/events.out.tfevents.*"))


def test_a_training_begins_with_the_weights_of_another_in_other_rooms(tmp_path, rendered):
    options = {"device": "cpu", "workers": 0}
    first = train_depth(TINY, tmp_path / "first", rendered=rendered, options=SMALL, **options)
    still = replace(TINY, learning_rate=0.0, epochs=1, first_room=5)
    more = train_depth(still, tmp_path / "more", start=first, **options)
    found, expected = load_depth(more), load_depth(first)
    assert found.options == expected.options
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected.state_dict()[name]), name
    seeds = sorted(int(path.stem) for path in (tmp_path / "more" / "rendered" / "train").glob("*.npz"))
    assert seeds == [750_005 + number for number in range(TINY.rooms)]
    with pytest.raises(OSError):
        train_depth(still, tmp_path / "none", start=tmp_path / "missing.safetensors", **options)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"views": 1}, "views is 1"),
        ({"rooms": 10**9}, "the seeds there are"),
        ({"first_room": -1}, "first_room is -1"),
        ({"epochs": 0}, "epochs"),
    ],
)
def test_recipes_that_cannot_be_are_refused(wrong, named):
    with pytest.raises(ValueError, match=named):
        replace(TINY, **wrong)


def test_the_command_trains_depth(tmp_path, caplog):
    arguments = ["train", "depth", "--out", str(tmp_path), "--rooms", "0"]
    assert main(arguments) == 2
    assert "rooms is 0, expected at least 1" in caplog.text
    assert main([*arguments[:-1], "1", "--targets", "0"]) == 2
    assert "targets is 0, expected at least 1" in caplog.text
