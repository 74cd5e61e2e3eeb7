"""Flow policies of single agents: behaviour cloning and reinforcement learning, one paper a file; needs nothing of the other floors.

transitions.py  what is learned from: steps, n-step returns, chunks of actions
replay.py       the ring buffer, how batches are drawn from it, recorded data from npz files
draws.py        every random number of a loss has a name, so that it can be given instead
encoder.py      flat observations, with a set of neighbours where there is one
networks.py     perceptrons, ensembles of them, and the networks of actors, critics and velocity fields
flow_steps.py   straight paths, the flow-matching loss, Euler, midpoint and Heun steps
adjoint.py      the memoryless SDE, its lean adjoint, the adjoint-matching loss
meanflow.py     average velocities: the loss by JVP, and the jump
block_roll.py   a flow as blocks, with the exact logarithm of its determinant
streaming.py    chunks of actions as flow trajectories
critics.py      aggregation, TD targets and losses, expectiles, Polyak averages, the best of candidates
tilted_flow.py  a slow flow of behaviour, and a fast one tilted by a value
mirror_descent.py  the best of a policy's own noisy candidates, and weights that tilt its law by their values
flow_decisions.py  a flow as a sequence of decisions, and what each is worth
one_step.py     a one-step actor distilled from a flow while it climbs the critic
policy.py       what all policies are: losses, one optimizer, acting
stored.py       a policy on disk, to go on from
registry.py     the algorithms by name, and their configs
environments.py Gymnasium, dm_control and OGBench behind one face
rollouts.py     policies that act, chunk by chunk, and are judged
learning.py     the loop: offline, online, or the one and then the other
run_state.py    a run on disk, to go on from
recording.py    data for OGBench's environments, made by its oracles, and read

bc.py, df_dir.py, df_div.py, flowrl.py, fpmd_m.py, fpmd_r.py, fql.py, gfp.py, ifql.py, qam.py, qam_e.py, qam_f.py,
rebrac.py, sac.py, sfp.py, swfp.py: the algorithms.

Letters: B batch, O observation, A action (of a chunk: all its numbers), H steps of a chunk, E members of an ensemble, M candidates,
K flow steps. Flow time t runs from 0, noise, to 1, action; times have a last axis of 1. Actions lie in [-1, 1].
"""
