from jaxseg.data.palette import default_palette


def test_is_the_colour_map_of_pascal_voc():
    palette = default_palette(256)
    assert palette[:5] == ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128))
    assert palette[15] == (192, 128, 128)  # person
    assert palette[20] == (0, 64, 128)  # TV
    assert palette[255] == (224, 224, 192)


def test_colours_differ_and_do_not_depend_on_the_number_of_classes():
    assert len(set(default_palette(256))) == 256
    assert default_palette(7) == default_palette(255)[:7]
    assert default_palette(0) == ()
