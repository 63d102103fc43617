// As src/pch.h, for tests.
#pragma once

#include "../src/pch.h"
#include "catch.h"
