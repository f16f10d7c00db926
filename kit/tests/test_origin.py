"""Whose data weights learned from."""

from __future__ import annotations

from pspnet_kit.data import origin

OWN = {"name": "yard", "licence": "mine", "citation": ""}
STREET = {"name": "CamVid", "licence": "non-commercial", "citation": "Brostow 2008."}


def test_one_source_is_as_it_was() -> None:
    assert origin.join([OWN]) == {**OWN, "sources": [OWN]}
    assert origin.join([STREET, {}, STREET])["licence"] == "non-commercial"


def test_licences_of_earlier_weights_stay() -> None:
    joined = origin.join([OWN, STREET])
    assert joined["name"] == "yard, CamVid"
    assert joined["licence"] == "yard: mine; CamVid: non-commercial"
    assert joined["citation"] == "Brostow 2008."


def test_a_chain_of_runs_names_each_source_once() -> None:
    first = origin.join([STREET])
    second = origin.join([OWN, first])
    third = origin.join([{"name": "port", "licence": "", "citation": ""}, second, first])
    assert third["name"] == "port, yard, CamVid"
    assert third["licence"] == "port: not stated; yard: mine; CamVid: non-commercial"
    assert third["sources"] == [{"name": "port", "licence": "", "citation": ""}, OWN, STREET]
