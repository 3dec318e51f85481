"""Methods for particles with positions: state to next state."""

from graphlandau.methods.kinetic.control_fit import ControlFit
from graphlandau.methods.kinetic.controlled import ControlledTransport
from graphlandau.methods.kinetic.jko import KineticJKO
from graphlandau.methods.kinetic.langevin import Langevin
from graphlandau.methods.kinetic.pic_jko import PICJKO
from graphlandau.methods.kinetic.sbtm import KineticSBTM
from graphlandau.methods.kinetic.transport import Forced, KineticTransport
from graphlandau.methods.kinetic.velocity_matching import VelocityMatching
from graphlandau.methods.kinetic.vlasov import Vlasov

__all__ = [
    "PICJKO",
    "ControlFit",
    "ControlledTransport",
    "Forced",
    "KineticJKO",
    "KineticSBTM",
    "KineticTransport",
    "Langevin",
    "VelocityMatching",
    "Vlasov",
]
