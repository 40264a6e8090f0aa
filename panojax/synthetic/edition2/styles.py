"""The second edition's hair styles: cuts with ranges of their numbers, times textures from straight to coily."""

from dataclasses import replace
from typing import Any

import numpy as np

from panojax.synthetic.edition2.people import Style

Rng = np.random.Generator
Range = float | tuple[float, float] | str | bool

TEXTURES: dict[str, dict[str, Range]] = {
    "straight": {"wave": 0.0, "frizz": (0.2, 0.8), "clump": (0.1, 0.5)},
    "soft": {"wave": (1.0, 3.0), "wave_length": (60, 120), "frizz": (0.3, 1.0), "clump": (0.2, 0.6)},
    "wavy": {"wave": (3.0, 6.5), "wave_length": (38, 75), "frizz": (0.5, 1.3), "clump": (0.35, 0.75),
        "clumps": 400.0},
    "curly": {"wave": (0, 3), "wave_length": (50, 80), "curl": (3.5, 7.5), "curl_length": (22, 42),
              "frizz": (0.8, 1.8), "clump": (0.5, 0.85), "clumps": 1100.0, "volume_gain": (1.2, 1.6)},
    "ringlets": {"curl": (5.0, 9.0), "curl_length": (24, 36), "frizz": (0.6, 1.5), "clump": (0.75, 0.95),
                 "clumps": 400.0, "volume_gain": (1.3, 1.8)},
    "coily": {"curl": (1.6, 3.6), "curl_length": (7.5, 14), "frizz": (1.2, 2.6), "clump": (0.3, 0.8),
              "clumps": 3000.0, "volume_gain": (1.3, 1.8), "settle": 15.0},
}  # fmt: skip
SMOOTH = ("straight", "soft", "wavy")
LOOSE = ("straight", "soft", "wavy", "curly")
ANY = ("straight", "soft", "wavy", "curly", "ringlets", "coily")
COIL = ("coily",)
CURLS = ("curly", "ringlets", "coily")

SHORT: dict[str, Range] = {"gravity": (0.1, 0.3), "stiffness": (25, 45), "thickness": (2, 5), "strands": 22000,
                           "width": 0.75, "ragged": 4, "layers": (0.25, 0.5), "clumps": 3000.0}  # fmt: skip
LONG: dict[str, Range] = {"front": 420, "top": 420, "side": 380, "back": 360, "radial": 0.25, "parted": 1.0,
                          "lift": (6, 28), "gravity": (0.7, 1.3), "stiffness": (14, 24), "volume": (4, 12),
                          "thickness": (6, 14), "sweep": (-0.5, 0.1), "strands": 21000, "width": 0.85,
                          "ragged": (3, 30), "layers": (0.05, 0.35), "face_gap": (50, 72)}  # fmt: skip
MIDDLE: dict[str, Range] = {"part": (-6, 6), "part_bend": (-4, 4)}
SIDE: dict[str, Range] = {"part": (18, 42), "part_bend": (-6, 6), "flip": True}
TIED: dict[str, Range] = {"front": 200, "top": 200, "side": 200, "back": 200, "volume": (2, 9), "thickness": (1, 3),
                          "strands": 17000, "width": 0.85, "lift": 10}  # fmt: skip
FRINGE: dict[str, Range] = {"fringe": (22, 40), "fringe_width": (38, 58), "fringe_level": (12, 28), "front": 130,
                            "fringe_sweep": (-0.25, 0.25), "fringe_open": (-2, 8)}  # fmt: skip
CURTAIN: dict[str, Range] = {"face_gap": (30, 46), "layers": (0.25, 0.5), "front": (140, 210)}

#  cut: (share of women, share of men, textures, numbers)
CUTS: dict[str, tuple[float, float, tuple[str, ...], dict[str, Range]]] = {
    "shaved": (0.2, 2.0, ("straight", "coily"), SHORT | {"front": (1.5, 3), "top": (1.5, 3), "side": (1.2, 2.5),
        "back": (1.2, 2.5), "lift": 60, "strands": 34000, "width": 0.55, "thickness": 0.5, "volume": 0}),
    "buzz": (0.4, 3.5, ANY, SHORT | {"front": (4, 9), "top": (4, 9), "side": (2.5, 6), "back": (2.5, 6),
        "lift": (40, 60), "strands": 30000, "width": 0.6, "thickness": 1, "volume": 1}),
    "crew": (0.2, 3.5, ANY, SHORT | {"cling": 0.2, "front": (14, 26), "top": (12, 22), "side": (4, 10), "back": (4,
        10), "fade": (15, 40), "lift": (40, 60), "quiff": (0, 20), "sweep": (0, 0.6), "radial": 0.6,
        "strands": 26000, "width": 0.65}),
    "high_fade": (0.2, 3.0, ANY, SHORT | {"front": (20, 45), "top": (20, 40), "side": (8, 14), "back": (8, 14),
        "fade": (20, 35), "fade_from": (22, 38), "lift": (35, 65), "radial": (0.4, 1)}),
    "low_fade": (0.2, 3.0, ANY, SHORT | {"front": (25, 55), "top": (25, 50), "side": (12, 22), "back": (10, 20),
        "fade": (25, 40), "fade_from": (2, 12), "lift": (30, 60)}),
    "caesar": (0.3, 2.5, LOOSE, SHORT | {"front": (28, 40), "top": (25, 38), "side": (10, 20), "back": (10, 20),
        "fringe": (18, 34), "fringe_level": (38, 55), "fringe_width": (45, 60), "lift": (15, 35)}),
    "crop": (0.3, 2.5, LOOSE, SHORT | {"front": (35, 60), "top": (35, 55), "side": (6, 14), "back": (6, 14),
        "fade": (15, 35), "fade_from": (5, 30), "fringe": (20, 38), "fringe_level": (26, 46), "fringe_sweep": (-0.5,
        0.5), "lift": (30, 60), "thickness": (4, 9), "layers": (0.3, 0.5)}),
    "side_part": (0.1, 4.0, SMOOTH, SHORT | SIDE | {"front": (60, 90), "top": (45, 68), "side": (16, 30),
        "back": (14, 28), "radial": 0.25, "parted": 1.0, "sweep": (-0.7, 0.3), "lift": (15, 40), "quiff": (0, 25),
        "volume": (2, 7), "layers": (0.4, 0.6)}),
    "comb_over": (0.0, 2.0, SMOOTH, SHORT | SIDE | {"front": (65, 95), "top": (55, 80), "side": (6, 12), "back": (6,
        12), "fade": (20, 40), "fade_from": (8, 24), "radial": 0.1, "parted": 1.0, "sweep": (-0.6, 0.2),
        "lift": (10, 28), "quiff": (0, 20), "volume": (2, 6), "layers": (0.35, 0.55)}),
    "slick_back": (0.8, 3.0, SMOOTH, SHORT | {"front": (110, 150), "top": (90, 130), "side": (35, 60), "back": (40,
        80), "radial": 0.2, "sweep": (-1.6, -1.1), "lift": (10, 35), "quiff": (0, 30), "volume": (2, 9)}),
    "undercut": (0.8, 2.5, LOOSE, SHORT | {"front": (110, 160), "top": (90, 130), "side": (3, 6), "back": (3, 6),
        "fade": 12, "fade_from": (28, 42), "radial": 0.1, "sweep": (-1.5, -0.6), "across": (-1.0, 1.0), "lift": (20,
        50), "quiff": (10, 35), "volume": (4, 10)}),
    "quiff": (0.3, 2.5, LOOSE, SHORT | {"cling": 0.35, "front": (60, 95), "top": (40, 65), "side": (10, 20),
        "back": (10, 18), "fade": (20, 40), "radial": 0.2, "sweep": (-1.0, -0.5), "lift": (35, 55), "quiff": (25,
        45), "volume": (4, 10)}),
    "pompadour": (0.3, 1.2, SMOOTH, SHORT | {"cling": 0.5, "front": (120, 160), "top": (90, 120), "side": (20, 40),
        "back": (30, 60), "radial": 0.1, "sweep": (-1.4, -1.0), "lift": 35, "quiff": (30, 50), "volume": (14, 26),
        "clump": 0.6}),
    "spiky": (0.3, 1.8, ("straight", "soft"), SHORT | {"front": (28, 50), "top": (28, 48), "side": (12, 25),
        "back": (12, 25), "lift": (60, 85), "stiffness": 80, "gravity": 0.05, "clumps": 400.0, "clump": (0.7, 0.95),
        "clump_start": 0.4, "cling": 0.0}),
    "brushed_up": (0.3, 1.8, LOOSE, SHORT | {"front": (35, 60), "top": (30, 50), "side": (15, 30), "back": (15, 30),
        "lift": (55, 80), "sweep": (-0.6, 0.6), "radial": 0.5, "stiffness": (40, 70), "cling": 0.0}),
    "bowl": (1.0, 0.8, ("straight", "soft"), SHORT | {"front": 130, "top": 150, "side": 110, "back": 100,
        "level": (-92, -62), "fringe": (25, 45), "fringe_width": (60, 75), "fringe_level": (16, 30), "gravity": 0.7,
        "lift": (10, 25), "volume": (6, 14), "thickness": 8, "stiffness": 20, "ragged": (1, 5), "face_gap": 56}),
    "mop": (1.0, 2.2, LOOSE, SHORT | {"front": (65, 95), "top": (75, 110), "side": (50, 75), "back": (50, 85),
        "fringe": (25, 45), "fringe_width": (45, 70), "fringe_level": (14, 34), "fringe_sweep": (-0.7, 0.7),
        "gravity": (0.3, 0.7), "lift": (25, 55), "volume": (6, 16), "thickness": (5, 10), "layers": (0.25, 0.5)}),
    "tousled": (1.2, 2.5, ("soft", "wavy", "curly", "ringlets"), SHORT | {"front": (60, 110), "top": (60, 100),
        "side": (30, 60), "back": (35, 75), "gravity": (0.2, 0.5), "lift": (35, 65), "sweep": (-0.8, 0.8),
        "across": (-0.6, 0.6), "volume": (5, 16), "thickness": (5, 10), "layers": (0.3, 0.5)}),
    "eighties": (0.8, 0.8, LOOSE, SHORT | {"front": (80, 110), "top": (90, 120), "side": (70, 90), "back": (90,
        130), "radial": 0.4, "sweep": (-0.8, -0.2), "lift": (35, 60), "volume": (10, 22), "gravity": (0.4, 0.7),
        "thickness": 10, "parted": (0, 1), "part": (-30, 30)}),
    "mullet": (0.7, 0.9, LOOSE, SHORT | {"front": (40, 70), "top": (50, 80), "side": (20, 40), "back": (150, 230),
        "fringe": (18, 34), "fringe_level": (20, 45), "gravity": (0.5, 0.9), "lift": (25, 50), "volume": (5, 12),
        "thickness": 8}),
    "receding": (0.0, 3.0, LOOSE, SHORT | {"front": (15, 45), "top": (15, 40), "side": (8, 25), "back": (8, 25),
        "recession": (8, 28), "temples": (10, 24), "sweep": (-0.9, 0.3), "radial": 0.4, "lift": (20, 45),
        "density": (0.45, 0.9)}),
    "tonsure": (0.0, 3.0, ANY, SHORT | {"front": (6, 20), "top": (6, 25), "side": (6, 30), "back": (6, 30),
        "recession": (10, 45), "temples": (8, 20), "bald": (45, 85), "baldness": (0.85, 1.0), "lift": (15, 35),
        "density": (0.6, 0.95)}),
    "thin_crown": (0.1, 1.5, LOOSE, SHORT | {"front": (20, 50), "top": (20, 45), "side": (12, 30), "back": (12, 30),
        "recession": (0, 14), "bald": (25, 55), "baldness": (0.5, 0.95), "sweep": (-0.8, 0.2), "density": (0.5,
        0.9)}),
    "pixie": (3.0, 0.3, LOOSE, SHORT | {"front": (50, 85), "top": (45, 75), "side": (28, 45), "back": (22, 40),
        "fringe": (22, 40), "fringe_width": (40, 60), "fringe_level": (16, 45), "fringe_sweep": (-1.0, 1.0),
        "sweep": (0, 0.6), "lift": (15, 40), "volume": (4, 12), "layers": (0.25, 0.45)}),
    "side_fringe_crop": (2.5, 0.5, SMOOTH, SHORT | SIDE | {"front": (85, 130), "top": (70, 100), "side": (30, 60),
        "back": (25, 50), "radial": 0.3, "parted": 1.0, "sweep": (0.1, 0.6), "lift": (20, 45), "volume": (6, 14),
        "gravity": 0.5, "face_gap": (25, 50)}),
    "short_set": (2.5, 0.0, ("soft", "wavy", "curly", "ringlets"), SHORT | {"cling": 0.3, "front": (60, 90),
        "top": (65, 95), "side": (50, 75), "back": (50, 75), "sweep": (-1.0, -0.2), "radial": 0.5, "lift": (40, 65),
        "volume": (12, 24), "thickness": (7, 12), "gravity": 0.3}),
    "bob_chin": (3.0, 0.15, LOOSE, LONG | {"level": (-12, 18), "parted": 1.0, "ragged": (1, 8)} | MIDDLE),
    "bob_side": (3.0, 0.1, LOOSE, LONG | SIDE | {"level": (-18, 25), "ragged": (1, 12)}),
    "bob_fringe": (2.8, 0.1, SMOOTH, LONG | FRINGE | MIDDLE | {"level": (-30, 20), "ragged": (1, 6)}),
    "bob_aline": (1.5, 0.0, SMOOTH, LONG | SIDE | {"level": (5, 30), "level_tilt": (0.25, 0.55), "ragged": (1, 6)}),
    "bob_ear": (1.2, 0.2, LOOSE, LONG | SIDE | {"level": (-55, -30), "ragged": (2, 10), "volume": (10, 20)}),
    "lob": (2.5, 0.5, ANY, LONG | {"level": (35, 70), "part": (-30, 30)}),
    "shag": (2.0, 0.8, LOOSE, LONG | FRINGE | {"level": (30, 90), "layers": (0.4, 0.65), "lift": (30, 55),
        "fringe_open": (6, 18)}),
    "shoulder_middle": (3.0, 1.2, ANY, LONG | MIDDLE | {"level": (55, 110)}),
    "shoulder_side": (3.0, 0.5, ANY, LONG | SIDE | {"level": (55, 110)}),
    "long_middle": (4.5, 0.8, ANY, LONG | MIDDLE | {"level": (130, 260)}),
    "long_side": (4.5, 0.4, ANY, LONG | SIDE | {"level": (130, 260)}),
    "long_fringe": (3.5, 0.1, LOOSE, LONG | FRINGE | MIDDLE | {"level": (60, 240)}),
    "long_curtain": (2.5, 0.5, LOOSE, LONG | CURTAIN | MIDDLE | {"level": (40, 220)}),
    "long_back": (2.5, 1.5, LOOSE, LONG | {"level": (60, 240), "parted": (0, 0.3), "sweep": (-1.8, -1.2),
        "radial": 0.2, "lift": (20, 50), "quiff": (0, 25), "face_gap": 76}),
    "long_tucked": (2.5, 0.8, SMOOTH, LONG | {"level": (50, 240), "part": (-35, 35), "sweep": (-1.4, -0.9),
        "volume": (3, 8), "thickness": (3, 7), "lift": 12, "face_gap": 78}),
    "afro_small": (1.6, 2.2, COIL, SHORT | {"front": (14, 28), "top": (16, 30), "side": (10, 22), "back": (10, 22),
        "lift": 80, "stiffness": 200, "gravity": 0, "frizz": 2.0, "strands": 17000, "width": 0.8, "cling": 0.0}),
    "afro": (2.4, 1.2, (*COIL, "ringlets"), SHORT | {"front": (45, 80), "top": (50, 95), "side": (45, 85),
        "back": (45, 80), "lift": 85, "stiffness": 300, "gravity": 0, "frizz": 3.0, "layers": 0.2, "strands": 15000,
        "width": 0.95, "cling": 0.0}),
    "afro_fade": (0.2, 1.6, COIL, SHORT | {"front": (30, 60), "top": (32, 65), "side": (12, 25), "back": (12, 25),
        "fade": (20, 40), "fade_from": (8, 30), "lift": 85, "stiffness": 300, "gravity": 0, "frizz": 2.5,
        "strands": 17000, "width": 0.85, "cling": 0.0}),
    "curly_top": (0.8, 2.0, CURLS, SHORT | {"front": (55, 95), "top": (55, 95), "side": (10, 20), "back": (10, 20),
        "fade": (20, 40), "fade_from": (5, 35), "lift": (55, 80), "gravity": 0.25, "volume": (6, 14), "cling": 0.0}),
    "curly_cloud": (2.6, 0.9, CURLS, LONG | {"front": (120, 180), "top": (130, 190), "side": (110, 170),
        "back": (110, 170), "lift": (55, 80), "gravity": (0.25, 0.5), "stiffness": 45, "spring": 0.6, "volume": (20,
        40), "part": (-30, 30), "strands": 14000, "cling": 0.0}),
    "ponytail_high": (2.0, 0.1, ANY, TIED | {"gather": "high", "tail": "tail", "tail_length": (120, 300)}),
    "ponytail_mid": (2.2, 0.3, ANY, TIED | {"gather": "mid", "tail": "tail", "tail_length": (100, 300)}),
    "ponytail_low": (2.0, 0.8, ANY, TIED | MIDDLE | {"gather": "low", "tail": "tail", "tail_length": (90, 260)}),
    "ponytail_fringe": (1.6, 0.0, SMOOTH, TIED | FRINGE | {"gather": "mid", "tail": "tail", "tail_length": (100,
        280)}),
    "bun_top": (1.5, 0.6, ANY, TIED | {"gather": "top", "tail": "bun", "tail_length": (24, 42)}),
    "bun_mid": (1.6, 0.4, ANY, TIED | {"gather": "mid", "tail": "bun", "tail_length": (24, 42)}),
    "bun_low": (1.8, 0.1, LOOSE, TIED | MIDDLE | {"gather": "low", "tail": "bun", "tail_length": (24, 40)}),
    "bun_fringe": (1.2, 0.0, SMOOTH, TIED | FRINGE | {"gather": "mid", "tail": "bun", "tail_length": (24, 40)}),
    "braid": (1.5, 0.1, SMOOTH, TIED | MIDDLE | {"gather": "low", "tail": "braid", "tail_length": (150, 300)}),
    "pigtails": (0.8, 0.0, ANY, TIED | {"gather": "sides", "tail": "tail", "tail_length": (90, 230), "parted": 1.0}),
    "two_braids": (0.9, 0.1, (*SMOOTH, "coily"), TIED | {"gather": "sides", "tail": "braid", "tail_length": (120,
        280), "parted": 1.0}),
    "space_buns": (0.4, 0.0, ANY, TIED | {"gather": "horns", "tail": "bun", "tail_length": (20, 32), "parted": 1.0}),
    "half_up": (1.6, 0.2, LOOSE, LONG | {"gather": "half", "tail": "tail", "tail_length": (100, 200), "level": (60,
        230), "sweep": (-1.2, -0.5), "parted": 0.3}),
    "fauxhawk": (0.3, 1.2, ANY, SHORT | {"front": (45, 75), "top": (40, 65), "side": (4, 8), "back": (5, 10),
        "fade": (12, 25), "fade_from": (34, 46), "lift": (50, 75), "cling": 0.0, "radial": 0.3, "sweep": (-0.8,
        -0.2), "stiffness": (50, 80), "clumps": 400.0, "clump": (0.4, 0.8)}),
    "flow": (0.6, 2.0, ANY, SHORT | {"front": (130, 180), "top": (110, 150), "side": (80, 120), "back": (90, 150),
        "radial": 0.2, "sweep": (-1.4, -0.8), "lift": (20, 45), "quiff": (5, 25), "volume": (4, 10),
        "gravity": (0.4, 0.8), "thickness": (4, 9), "face_gap": 78}),
    "curtain_short": (0.6, 1.8, LOOSE, SHORT | MIDDLE | {"front": (110, 140), "top": (90, 120), "side": (40, 70),
        "back": (30, 60), "radial": 0.2, "parted": 1.0, "sweep": (-0.2, 0.4), "lift": (20, 40), "gravity": (0.5,
        0.8), "volume": (4, 9), "thickness": (4, 8), "face_gap": (40, 60)}),
    "taper": (0.3, 2.0, LOOSE, SHORT | SIDE | {"front": (45, 70), "top": (38, 55), "side": (16, 26), "back": (14,
        24), "fade": (20, 35), "radial": 0.4, "parted": (0, 1), "sweep": (-0.4, 0.5), "lift": (20, 45),
        "volume": (2, 6)}),
    "bixie": (2.0, 0.3, LOOSE, SHORT | SIDE | {"front": (90, 130), "top": (85, 115), "side": (65, 95), "back": (45,
        80), "radial": 0.35, "parted": 1.0, "sweep": (-0.3, 0.3), "lift": (15, 40), "gravity": (0.5, 0.8),
        "volume": (5, 12), "thickness": (5, 9), "face_gap": (45, 65)}),
    "shoulder_fringe": (2.5, 0.1, ANY, LONG | FRINGE | MIDDLE | {"level": (40, 100)}),
    "long_layers": (2.5, 0.6, ANY, LONG | {"level": (110, 250), "layers": (0.4, 0.65), "part": (-35, 35),
        "lift": (20, 40)}),
    "ponytail_side": (0.8, 0.0, ANY, TIED | SIDE | {"gather": "side", "tail": "tail", "tail_length": (110, 260)}),
    "pigtails_low": (0.7, 0.0, ANY, TIED | {"gather": "low_sides", "tail": "tail", "tail_length": (90, 230),
        "parted": 1.0}),
    "half_bun": (1.0, 0.6, ANY, LONG | {"gather": "half", "tail": "bun", "tail_length": (18, 28), "level": (40,
        220), "sweep": (-1.2, -0.5), "parted": 0.3}),
    "box_braids": (1.6, 0.4, COIL, LONG | {"rope": (2.6, 4.2), "plaited": True, "clumps": 160.0, "clump": 1.0,
        "level": (20, 240), "part": (-25, 25), "thickness": 12, "strands": 11000, "frizz": 0.3, "curl": 0.0,
        "volume": 9}),
    "locs": (0.8, 1.2, COIL, LONG | {"rope": (2.8, 5.0), "clumps": 160.0, "clump": 1.0, "level": (-20, 220),
        "part": (-25, 25), "thickness": 14, "strands": 11000, "curl": 0.0, "volume": (8, 16), "lift": (40, 70)}),
    "locs_short": (0.5, 1.0, COIL, SHORT | {"rope": (2.2, 3.6), "clumps": 160.0, "clump": 1.0, "front": (45, 90),
        "top": (45, 90), "side": (40, 70), "back": (40, 70), "lift": (50, 80), "strands": 12000, "curl": 0.0,
        "gravity": 0.4, "stiffness": 30, "cling": 0.0}),
    "twists": (0.6, 0.8, COIL, SHORT | {"rope": (1.6, 2.6), "clumps": 400.0, "clump": 1.0, "front": (30, 70),
        "top": (30, 70), "side": (25, 50), "back": (25, 50), "lift": (60, 85), "strands": 16000, "curl": 0.0,
        "gravity": 0.2, "stiffness": 40, "cling": 0.0}),
    "braids_tied": (0.7, 0.5, COIL, TIED | {"rope": (2.4, 3.6), "plaited": True, "clumps": 160.0, "gather": "mid",
        "tail": "ropes", "tail_length": (120, 260), "strands": 11000, "curl": 0.0}),
    "cornrows": (1.0, 1.2, COIL, TIED | {"rope": (3.0, 4.2), "plaited": True, "gather": "rows", "tail": "ropes",
        "tail_length": (0, 200), "strands": 11000, "curl": 0.0}),
}  # fmt: skip
TEST_ONLY_CUTS = ("bob_aline", "pompadour", "half_up", "mullet")  # of test heads alone
ROPED = ("box_braids", "locs", "locs_short", "twists", "braids_tied", "cornrows")
FACE_FREE = ("high", "mid", "low", "top", "sides", "horns")

BEARDS: dict[str, tuple[float, float, float, tuple[float, float]]] = {
    #  kind: (share, cover, painted stubble, length in mm)
    "none": (0.38, 1.0, 0.0, (0, 0)),
    "shadow": (0.12, 1.0, 0.35, (0, 0)),
    "stubble": (0.14, 1.0, 0.55, (1.5, 4)),
    "full": (0.14, 1.0, 0.75, (6, 22)),
    "long": (0.04, 1.0, 0.8, (40, 130)),
    "goatee": (0.07, 0.03, 0.5, (4, 18)),
    "moustache": (0.06, 0.0, 0.3, (6, 14)),
    "circle": (0.05, 0.10, 0.5, (3, 10)),
}


def below_hat(style: Style, hat: str) -> Style:
    """A style as a hat leaves it: pressed flat, no fringe, nothing tied where the hat is."""
    if hat == "headband":
        return style
    tied = style.gather if style.gather in ("low", "sides") else ""
    lengths = {name: min(getattr(style, name), 90.0) for name in ("side", "back")} if style.gather and not tied else {}
    return replace(
        style, fringe=0.0, quiff=0.0, lift=min(style.lift, 12.0), volume=min(style.volume, 3.0), spring=0.0,
        gather=tied,
        thickness=min(style.thickness, 7.0), gravity=max(style.gravity, 0.8), stiffness=min(style.stiffness, 25.0),
        cling=0.7, tail=style.tail if tied else "", **lengths,
    )  # fmt: skip


def combinations() -> list[tuple[str, str]]:
    """All (cut, texture) pairs."""
    return [(cut, texture) for cut, (_, _, textures, _) in CUTS.items() for texture in textures]


def sample_style(rng: Rng, cut: str, texture: str) -> Style:
    """Numbers from the ranges of a cut and a texture. What the cut says itself stays, but for curls and frizz."""
    ranges: dict[str, Any] = dict(CUTS[cut][3])
    curls = TEXTURES[texture] if cut not in ROPED else {}
    for name, value in curls.items():
        if name not in ("clumps", "clump") or ranges.get("clumps", 3000.0) == 3000.0 or cut not in ROPED:
            ranges[name] = ranges[name] if name == "clumps" and cut == "spiky" else value
    numbers: dict[str, Any] = {}
    flip = rng.random() < 0.5
    for name, value in ranges.items():
        if isinstance(value, tuple):
            numbers[name] = float(np.round(rng.uniform(*value), 4))
        elif isinstance(value, str | bool):
            numbers[name] = value
        else:
            numbers[name] = float(value)
    if numbers.pop("flip", False) and flip:
        numbers["part"] = -numbers["part"]
    gain = numbers.pop("volume_gain", 1.0)
    if not numbers.get("gather"):
        numbers["volume"] = round(numbers.get("volume", 6.0) * gain, 3)
        numbers["thickness"] = round(numbers.get("thickness", 4.0) * gain, 3)
    numbers["whorl"] = float(np.round(rng.uniform(-12, 12), 2))
    numbers["swirl"] = float(np.round(rng.uniform(-0.7, 0.7), 3))
    numbers.setdefault("peak", float(np.round(max(0.0, rng.normal(0, 3)), 2)))
    numbers.setdefault("nape_line", float(np.round(rng.uniform(-6, 8), 2)))
    for count in ("strands", "clumps"):
        if count in numbers:
            numbers[count] = int(numbers[count])
    return Style(cut=cut, texture=texture, seed=int(rng.integers(2**31)), **numbers)
