"""The picture of many rooms."""

from gnesf_model.data.procrooms import make_room
from gnesf_model.data.procrooms.contact_sheet import CAPTION_PX, COLUMNS, Room, contact_sheet, telling_view


def test_a_sheet_has_a_tile_for_each_room_and_the_view_is_from_within(monkeypatch):
    monkeypatch.setattr("gnesf_model.data.procrooms.contact_sheet.PLACES", 2)
    sheet = contact_sheet([Room(5), Room(6, looks="varied")], 48, 36)
    assert sheet.shape == (36 + CAPTION_PX, 48 * COLUMNS, 3)
    assert sheet[:36, :96].std() > 15
    scene = make_room(5)
    x, y, _ = (telling_view(scene)[:3, 3] - scene.world_T_room[:3, 3]) @ scene.world_T_room[:3, :3]
    assert abs(x) < scene.room_size[0] / 2
    assert abs(y) < scene.room_size[1] / 2
