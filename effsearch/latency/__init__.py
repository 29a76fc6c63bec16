"""Latency on a device: tables, predictions with their uncertainty, and how tables are made.

Where things are: `table` predicts; `catalogue` knows which tables there are; `models/` has one
module for each kind of table and one for each set of features; `timing/` runs networks on this
machine; `profile/` makes a table of this machine; `calibrate/` makes one from whole networks' times
on a device that cannot run Python.

Words used throughout:

Table
    What is known of one device, as files: a JSON card, with a CSV of entries where operators were
    measured one by one. Its `model` names the kind of table that reads it.
Kind of a number
    `measured` (run on that device), `fitted` (inferred from whole networks measured on it, or
    between its measured operators), `transferred` (fitted, but no network measured on that very
    device has such blocks), or `estimated` (none of these). A prediction has the least certain kind
    among its parts that matter.
Total
    A sum over a network's operators that has a price, such as `conv.gmacs` (10^9
    multiply-accumulates in convolutions) or `dispatch.count` (operators started). An operator
    adds to a few totals; totals add up over operators.
Price
    Milliseconds for one unit of a total.
Features
    The vector (d,) in which a table sums up any group of operators. It adds up over groups, so a
    network's features are the sum of those of its units. A fitted table's features are its totals.
Feature set
    The list of totals that a calibrated table has prices for: a processor's, an accelerator's, or
    another table's milliseconds by kind of operator.
Run
    One execution of a network for one image. The total `run.count` is its fixed cost.
Floor
    What the hardware needs at least for an operator, by its peak rates.
Turn
    A few runs of one network, one after another. Networks take turns, so that none is measured
    in a slow minute only.
Round
    One pass in which every network takes a turn.
Reference
    One of two: a network that streams its weights, and a matrix product inside the cache. Both run
    before and after each turn, and together they tell the machine's speed at that moment.
Calm
    A turn is calm where the operating system took no core away and neither reference was slow
    around it. Other turns don't count.
Slowness
    How many times longer a network takes than at the speed at which its table was measured.
Streaming share
    The part of an operator's or a network's time that depends on how fast weights arrive from
    memory.
Trait
    Something unusual about an operator, such as linear attention, that few phones' measured
    networks have.
Kit
    Networks chosen so that their times say most about a device's prices, with a CSV to fill in.
"""

from effsearch.latency.table import DeviceTable, Prediction

__all__ = ["DeviceTable", "Prediction"]
