"""Libraries of grafts: published with a signed certificate, listed by competence, fetched without trust; no PyTorch."""

from saint.library._certificate import (
    CERTIFICATE as CERTIFICATE,
    Base as Base,
    Certificate as Certificate,
    File as File,
    Software as Software,
    Source as Source,
    Text as Text,
)
from saint.library._fetch import fetch as fetch
from saint.library._fit import Fit as Fit, fit_of as fit_of, must_fit as must_fit
from saint.library._licence import must_be_licence as must_be_licence
from saint.library._listed import Listed as Listed, Signer as Signer
from saint.library._publish import Published as Published, publish as publish
from saint.library._read import Catalogue as Catalogue, find as find, read_library as read_library
