"""Training: one loop for everything that is trained here.

loop.py        `train`: steps, schedule, evaluation, states, stopping
schedule.py    learning rate over the run; what is due when
optimizer.py   AdamW, and its moments by parameter name
ema.py         the running average of the weights, which is what is judged and released
state.py       a run on disk, to go on from
meters.py      values of many steps: means, and whether all were finite
logs.py        CSV, TensorBoard and the progress bar
stopping.py    signals that ask for the end
"""
