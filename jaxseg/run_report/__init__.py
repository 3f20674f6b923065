"""``<workdir>/report.html``: a run on one page that needs no other file and asks nothing of the network.

What it was, its curves, the scores of each class, what is taken for what, and the images that it finds easy and hard.
"""

from jaxseg.run_report.writing import NAME as NAME
from jaxseg.run_report.writing import write as write
from jaxseg.run_report.writing import write_after_training as write_after_training
