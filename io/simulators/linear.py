"""Leaky integrate-and-fire neurons in scripts that bring their own equations: see ``connectome.io.scripts``."""

import numpy as np

DT_MS = 0.1


# %%
def propagators(p):
    """The constants of a step that is solved exactly, also where two time constants are the same."""

    def push(tau_syn):
        least, most = (f(DT_MS / p["tau_m"], DT_MS / tau_syn) for f in (np.minimum, np.maximum))
        x = most - least
        safe = np.where(x > 0, x, 1.0)
        return np.exp(-least) * DT_MS / p["C_m"] * np.where(x > 0, -np.expm1(-safe) / safe, 1.0)

    return {
        "p22": np.exp(-DT_MS / p["tau_m"]), "p20": -np.expm1(-DT_MS / p["tau_m"]) * p["tau_m"] / p["C_m"],
        "p21_ex": push(p["tau_syn_ex"]), "p21_in": push(p["tau_syn_in"]),
        "p11_ex": np.exp(-DT_MS / p["tau_syn_ex"]), "p11_in": np.exp(-DT_MS / p["tau_syn_in"]),
        "theta": p["V_th"] - p["E_L"], "reset": p["V_reset"] - p["E_L"], "ref_steps": np.rint(p["t_ref"] / DT_MS),
        "rho": np.exp(-DT_MS / p.get("adapt_tau", 1.0)), "beta": p.get("adapt_beta", 0.0),
    }  # fmt: skip
