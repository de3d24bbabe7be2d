"""Several processes have the loss and the gradients of one; CLIP's are open_clip's."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.process_group_jobs import (
    CHUNKS,
    COUNTS,
    LOSSES,
    SAMPLES,
    SYMMETRIC_LOSSES,
    compute_open_clip_share,
    compute_open_clip_siglip_share,
    compute_share,
    compute_whole,
    main,
    slices,
    under_ddp,
)
from tests.helpers.processes import start_ranks
from uniclip.distributed import SINGLE_PROCESS, ProcessGroup, get_process_group

PLACES = ("even", "uneven", "nobody")


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """By size of the world: the results of each of its processes."""

    def spawned(size):
        folder = tmp_path_factory.mktemp(f"world{size}")
        start_ranks(main, size, size, str(folder))
        return [torch.load(folder / f"{rank}.pt") for rank in range(size)]

    return {size: spawned(size) for size in COUNTS}


def united(results, case):
    """The sum of the shares; embeddings' gradients one after the other, the others' added up."""
    values, gradients = zip(*(process[case] for process in results))
    embeddings, *others = zip(*gradients)
    return sum(values), [torch.cat(embeddings), *(sum(of_one) for of_one in others)]


def assert_same(results, expected, tolerance=1e-10):
    close = dict(rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(results[0], expected[0], **close)
    for gradient, wanted in zip(results[1], expected[1], strict=True):
        torch.testing.assert_close(gradient, wanted, **close)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", CHUNKS)
@pytest.mark.parametrize("rows", PLACES)
@pytest.mark.parametrize("size", COUNTS)
def test_the_shares_add_up_to_one_process(size, rows, form, loss, worlds):
    assert_same(united(worlds[size], (rows, form, loss)), compute_whole(loss))


def test_shares_are_shares(worlds):
    """Each process has less than the whole, so that adding up means something."""
    whole = compute_whole("mp_nce")[0]
    assert all(0 < process["even", "dense", "mp_nce"][0] < whole for process in worlds[2])


@pytest.mark.parametrize("form", CHUNKS)
def test_clip_is_open_clips_in_one_process(form):
    value, gradients = compute_open_clip_share(slice(None), 0, 1, "local")
    expected = value, [*gradients, torch.zeros_like(value)]  # without a bias
    assert_same(compute_share("clip", CHUNKS[form], slice(None), SINGLE_PROCESS), expected)


@pytest.mark.parametrize("form", CHUNKS)
@pytest.mark.parametrize("size", [1, *COUNTS])
def test_siglip_is_open_clips(size, form, worlds):
    """open_clip's loss of a process is the mean over its own rows; DDP takes the mean of all."""
    whole = compute_share("siglip", CHUNKS[form], slice(None), SINGLE_PROCESS)
    if size == 1:
        assert_same(whole, compute_open_clip_siglip_share(slice(None), 0, 1))
        return
    value, gradients = united(worlds[size], ("open_clip", "siglip"))
    expected = value / size, [g / size for g in gradients]
    assert_same(united(worlds[size], ("even", form, "siglip")), expected)
    assert_same(whole, expected)


@pytest.mark.parametrize("form", CHUNKS)
@pytest.mark.parametrize("size", COUNTS)
def test_clip_under_the_mean_of_ddp_is_open_clips(size, form, worlds):
    """open_clip's local loss is the mean over its own rows: our share is 1 / world of it. DDP
    divides what the processes pull at a parameter by world; we add up, and do not divide: under
    DDP our share times world has the gradient of one process, as open_clip's has."""
    results = worlds[size]
    whole = under_ddp("uniclip", slice(None), 0, 1)
    for process in results:
        for name in ("uniclip", "open_clip"):
            torch.testing.assert_close(process["ddp", name][1][0], whole, rtol=1e-10, atol=1e-10)
    value, (*gradients, _) = united(results, ("even", form, "clip"))
    peer_value, peer_gradients = united(results, ("open_clip", "local"))
    assert_same((value, gradients), (peer_value / size, [g / size for g in peer_gradients]))


@pytest.mark.parametrize("size", COUNTS)
def test_open_clip_without_gradients_of_others_computes_all_on_each(size, worlds):
    """Its default form: the value and the embeddings' gradients of the whole, on each process."""
    value, (*gradients, _) = compute_whole("clip")
    for process, rows in zip(worlds[size], slices(COUNTS[size]["even"])):
        results = process["open_clip", "global"]
        assert_same(results, (value, [gradients[0][rows], gradients[1]]))


@pytest.mark.parametrize("form", CHUNKS)
@pytest.mark.parametrize("size", COUNTS)
def test_dropped_remote_gradients_are_the_published_form(size, form, worlds):
    """SLIP's, which is open_clip's local loss over features gathered as constants."""
    results = worlds[size]
    value, (*gradients, _) = united(results, ("even", form, "clip", "dropped"))
    peer_value, peer_gradients = united(results, ("open_clip", "published"))
    assert_same((value, gradients), (peer_value / size, [g / size for g in peer_gradients]))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", COUNTS)
def test_dropped_remote_gradients_leave_value_and_scalars(size, loss, worlds):
    value, (embeddings, *scalars) = compute_whole(loss)
    dense, streamed = (united(worlds[size], ("even", f, loss, "dropped")) for f in CHUNKS)
    assert_same(streamed, dense)
    assert_same((dense[0], dense[1][1:]), (value, scalars))
    cosine = torch.cosine_similarity(dense[1][0].flatten(), embeddings.flatten(), dim=0)
    if loss in SYMMETRIC_LOSSES:
        assert cosine > 1 - 1e-9
    else:
        assert 0.3 < cosine < 0.999  # it is another gradient


def test_one_process_exchanges_nothing():
    rows = torch.ones(3, 2)
    assert get_process_group() is SINGLE_PROCESS
    assert SINGLE_PROCESS.all_gather(rows) is rows
    assert SINGLE_PROCESS.all_gather_samples(rows) == (slice(0, 3), (rows,))
    assert ProcessGroup(gather_with_grad=False).detach_remote(rows.requires_grad_()).requires_grad
    assert sum(COUNTS[2]["uneven"]) == sum(COUNTS[4]["uneven"]) == SAMPLES
