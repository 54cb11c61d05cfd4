// What a report page looks like and how it reads out its plots: inline style and script, constants.
//
// Colours: Okabe and Ito's set, which stays apart for colour-blind readers, darkened on white and
// lightened on dark until each line has a contrast of 3:1 or more and each text of 4.5:1 or more.
// Lines differ in pattern too; a verdict has a sign and a word beside its colour.
#pragma once

namespace loadgen {

extern const char* const kReportStyle;
extern const char* const kReportScript;  // hover and arrow keys; the page is complete without

}  // namespace loadgen
