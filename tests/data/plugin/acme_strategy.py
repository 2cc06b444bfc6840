import numpy as np

from planner.strategies.fixed_designs import GridPosterior


class Farthest(GridPosterior):                    # predicts as sweepwise does, and chooses by itself
    """Always the point that lies farthest from every point that is measured or under way."""
    def propose(self, observations):
        grid, open_rows = self.context.grid, observations.open_rows
        if not len(open_rows):
            return None                           # nothing is left
        place = grid.codes / np.array([len(axis.values) for axis in grid.axes])
        taken = [*np.flatnonzero(observations.known), *observations.pending]
        if not taken:
            return int(np.random.default_rng(self.context.seed).choice(open_rows))
        gaps = place[open_rows][:, None, :] - place[taken][None, :, :]
        return int(open_rows[np.argmax(np.abs(gaps).sum(axis=2).min(axis=1))])
