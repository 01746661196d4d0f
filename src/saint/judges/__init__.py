"""Who says whether a generated text does what a suite counts: every module here without a leading underscore is one."""

from saint.judges._judge import Judge as Judge, answers_of as answers_of, build_judge as build_judge
