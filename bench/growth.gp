# How cost grows with a package's size, the number of its files, and the size of
# a fleet. Wants data (a directory), out (a file) and most (MB of memory promised).
set terminal pngcairo size 1180,800 font "DejaVu Sans,12" background "white"
set output out
script = "#8c8c8c"
agent = "#d1495b"
delta = "#2e7f8f"

set multiplot layout 2,2 margins 0.075,0.97,0.08,0.95 spacing 0.10,0.16
set border 3 lc rgb "#666666"
set tics nomirror out textcolor rgb "#333333"
set grid lc rgb "#e4e4e4" lw 1
set key left top reverse Left
set style line 1 lc rgb script lw 2 pt 7 ps 0.7
set style line 2 lc rgb agent lw 2 pt 7 ps 0.7
set style line 3 lc rgb delta lw 2 pt 7 ps 0.7

set title "Wall time by size of the package"
set xlabel "MB"
set ylabel "seconds" offset 1,0
set logscale xy
plot data."/sizes" using 1:2 with linespoints ls 1 title "script, install", \
     "" using 1:3 with linespoints ls 2 title "agent, install", \
     "" using 1:4 with linespoints ls 3 title "agent, delta"

unset logscale y
set key left bottom
set title "Peak memory of the agent by size of the package"
set ylabel "MB" offset 1,0
set yrange [0:most * 1.25]
plot most with lines lc rgb "#666666" dt 2 title "promised at most", \
     data."/sizes" using 1:5 with linespoints ls 2 title "agent, install"

unset logscale x
set key left top
set title "Wall time by number of files in a package of one size"
set xlabel "files"
set ylabel "seconds" offset 1,0
set yrange [0:*]
set xrange [0:*]
set offsets 0, 2, graph 0.3, 0
plot data."/files" using 1:2 with linespoints ls 1 title "script, install", \
     "" using 1:3 with linespoints ls 2 title "agent, install"

unset offsets
set logscale xy
set title "CPU time of nginx by number of endpoints"
set xlabel "endpoints, each once"
set ylabel "seconds" offset 1,0
set xrange [*:*]
set yrange [0.005:*]
set autoscale xfix
set offsets 0, 0, graph 0.2, 0
plot data."/fleet-delta" using 1:($2 > 0.01 ? $2 : 0.01) with linespoints ls 2 title "a delta for each", \
     data."/fleet-nothing" using 1:($2 > 0.01 ? $2 : 0.01) with linespoints ls 3 title "nothing new"
unset multiplot
