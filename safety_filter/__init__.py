"""The solver that makes joint trajectories safe, and the certificate that tells whether they are."""
