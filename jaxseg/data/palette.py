"""Colours for classes that have none of their own."""


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Return one RGB colour per class: the colour map of Pascal VOC, in which class 0 is black.

    The bits of the class index, three at a time, become the highest bits of red, green and blue, so that all of up to 256 classes
    differ and low indices differ most.
    Source: Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010, development kit.
    """
    return tuple(_color(index) for index in range(num_classes))


def _color(index: int) -> tuple[int, int, int]:
    red = green = blue = 0
    for level in range(8):
        red |= (index >> (3 * level) & 1) << (7 - level)
        green |= (index >> (3 * level + 1) & 1) << (7 - level)
        blue |= (index >> (3 * level + 2) & 1) << (7 - level)
    return red, green, blue
