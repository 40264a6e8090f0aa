"""Training data: sets prepared with TFDS (array_record, without TensorFlow) and fed by a Grain pipeline.

docs/data.md says how to lay out, prepare and mix the real sets. The modules, in the order of use:

    heads_set, eg3d_folder, mead   what a set's folder must hold, and its records
    prepare                        checks a folder, then writes it as array_record
    records                        reads a prepared set by index
    balance                        shows rare yaws more often
    generated                      pictures from the generator itself, by index
    pipeline                       mixes sources into batches, with a state that can be saved
"""
