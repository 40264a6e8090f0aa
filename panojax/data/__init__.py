"""Training data: folders of three kinds, one Grain pipeline for encoders and generators.

docs/data.md says how to lay out, prepare and mix the real sets. The modules, in the order of use:

    heads_set, eg3d_folder, mead   what a set's folder must hold, and its records
    prepare                        checks a folder, then writes it as array_record (TFDS, without TensorFlow)

    reader                         what every reader gives: samples by row
    photo_reader, head_reader      read folders as they lie
    records                        reads a prepared set
    generated                      pictures from the generator itself, by row
    opening                        opens folders of any kind; leaves out, repeats and weighs their pictures
    balance                        shows rare yaws, or backs, more often

    order                          which rows a step takes, by the seed and the step alone
    picture_store                  pictures at one size on one background, kept in memory where they fit
    batch_maker                    rows to arrays, whole batches
    pipeline                       all of this by Grain, with a state that can be saved
    speed                          measures it

    augment, drawn                 on the device: pictures as photos are; the generator's own samples
"""
